# SPDX-License-Identifier: Apache-2.0
"""Numbers, texts, headers and paths at the edges of what is read."""

# As they are in JSON, or in what some take for it.
NUMBERS = (
    *(
        "1e400",
        "-1e400",
        "1e-400",
        "-0",
        "-0.0",
        "0.1e1",
        "1.0",
        "3.0000000001",
        "NaN",
        "Infinity",
        "-Infinity",
    ),
    *(
        str(sign * (2**bits + more))
        for bits in (31, 32, 53, 63, 64)
        for sign in (1, -1)
        for more in (-1, 0, 1)
    ),
    *("9" * 400, "-" + "9" * 5000, "9" * 100_000, "1" + "0" * 309 + ".5", "0x10", "1_000", "+1", "01", ".5"),
)
# Escapes of lone surrogates, of a pair, of nothing, and of what is no escape.
TEXTS = (
    *(r"\ud800", r"\udfff", r"a\ud83d", r"\ude00\ud83d", r"\ud83d\ude00", r"\u0000", r"a\u0000b", r"\u202e"),
    *(
        r"\ufffe",
        r"\uffff",
        r"\x",
        r"\u12",
        "\\",
        "{{",
        "{% raw %}",
        "{{ messages }}",
        "\u2028",
        "\U0001f408",
    ),
    *("\ufeff", "e\u0301" * 50, "\u200d" * 100, "data: [DONE]", r"\n\ndata: [DONE]\n\n", ""),
)
KINDS = (
    *(
        "text/plain",
        "application/x-www-form-urlencoded",
        "multipart/form-data",
        "application/json5",
        "",
        None,
    ),
    *(
        "application/json; charset=utf-16",
        "application/json;;;",
        "APPLICATION/JSON",
        "application/json, text/plain",
    ),
    *("application/vnd.api+json", "json", "a" * 5000, "application/json\udcff", "*/*"),
)
HEADERS = (
    *("Content-Encoding: gzip", "Accept: text/html", "X-Request-Id: a\udcffb", "X-Request-Id: "),
    *("X-Request-Id: " + "a" * 9000, "traceparent: 00-0-0-0", "traceparent: \udcff"),
    *("tracestate: " + "a=b," * 500, "Expect: 100-continue", "Upgrade: h2c", "Cookie: " + "a" * 9000),
)
PATHS = (
    *("/v1/models/%00", "/v1/models/%ff", "/v1/models//", "/v1/models/../models", "//v1/models", "/%", "*"),
    *("/v1/models/" + "a" * 60_000, "/v1/chat/completions/", "/v1/models?a=%00", "/\udcff", "/V1/models"),
    *("/docs/oauth2-redirect", "/metrics", "/health?x", "/v1/models/demo%2f", "/v1/models/demo/..%2f"),
)
METHODS = ("GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH")
