# SPDX-License-Identifier: Apache-2.0
"""All middlewares of this folder around an app."""

from __future__ import annotations

from starlette.types import ASGIApp

from openai_frontend.protection.api_keys import ApiKeys
from openai_frontend.protection.body_limit import BodyLimit
from openai_frontend.protection.connections import Connections
from openai_frontend.protection.cross_origin import CrossOrigin
from openai_frontend.settings import FrontendSettings, read_api_keys


def protect(app: ASGIApp, settings: FrontendSettings) -> ASGIApp:
    """Return the app behind what the settings ask for, the cheapest refusal first. Raise SettingError.

    CORS comes before the keys: a preflight carries none, and a script may read why it was refused. What
    passes is sent as it is: no middleware here looks at the events of a stream, but CORS at their type.
    """
    app = BodyLimit(app, settings.openai_max_body)
    if keys := read_api_keys(settings):
        app = ApiKeys(app, keys)
    if settings.openai_cors_origins:
        app = CrossOrigin(app, settings.openai_cors_origins)
    return Connections(app)
