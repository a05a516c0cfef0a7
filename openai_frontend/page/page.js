// SPDX-License-Identifier: Apache-2.0
// The page: a conversation with the model, or texts that it completes if it has no chat template.
//
// It speaks the API that any other client speaks. All that comes from the model goes into text nodes, never into
// markup, so nothing that a model writes can become a part of the page.

const POLL_MS = 2000; // how often the load is asked for
const STATUS_TIMEOUT_MS = 8000; // longer than the server's own for Triton's metrics
const DEFAULT_COMPLETION = 128; // tokens; OpenAI's default of 16 ends in mid-sentence
const NO_CONNECTION = "No connection to the server. Is it still running?";
const COPIED_MS = 1500; // how long a button says so
const MEASURABLE_MS = 100; // below, when texts arrive says more of packets than of the engine
const NEAR_PX = 60; // so near the end, the reader follows the text

const find = (id) => document.getElementById(id);
const conversation = find("conversation");
const prompt = find("prompt");
const fields = find("fields");
const settings = find("settings");
// Beside the page, behind a proxy too; not as a relative address: fetch takes none if the page's has a password in it.
const addressOf = (path) => new URL(path, location.origin + location.pathname);
const isWide = matchMedia("(min-width: 60rem)"); // as in page.css

// A turn is what was asked and what came of it: { prompt, answer, view }. Turns without an answer are not sent again.
let turns = [];
let server = null; // what /status said first; null until then
let editing = null; // the turn whose prompt is being edited
let running = null; // the AbortController of the answer that is being written
let isFollowing = true; // whether the view follows the end of the text

// ---- The server's state ------------------------------------------------------------------------------------------

let pollTimer = null;

async function poll() {
  clearTimeout(pollTimer);
  try {
    const response = await fetch(addressOf("status"), { signal: AbortSignal.timeout(STATUS_TIMEOUT_MS) });
    if (!response.ok) throw new RequestError(await wordsOf(response));
    const status = await response.json();
    // Another model: the server has been started anew meanwhile.
    if (server?.model !== status.model || server.has_chat_template !== status.has_chat_template) meet(status);
    showLoad(status.load);
  } catch (error) {
    find("load").dataset.state = "gone";
    find("load").textContent = "Not reachable";
    if (!server) find("welcome-text").textContent = error instanceof RequestError ? error.message : NO_CONNECTION;
  }
  clearTimeout(pollTimer); // of another poll that has begun meanwhile
  if (!document.hidden) pollTimer = setTimeout(poll, POLL_MS);
}

function showLoad(load) {
  const count = (value, max, word) => `${value.toLocaleString("en")} of ${max.toLocaleString("en")} ${word}`;
  const isFull = load && load.running >= load.max_running;
  find("load").dataset.state = !load ? "unknown" : isFull ? "full" : load.running ? "busy" : "idle";
  find("load").textContent = load
    ? `${count(load.running, load.max_running, "running")}, ${count(load.waiting, load.max_waiting, "waiting")}`
    : "Load unknown";
}

/** Lay the page out for the model, once it is known. */
function meet(status) {
  server = status;
  const isChat = status.has_chat_template;
  const together = status.limits.max_seq_len.toLocaleString("en");
  document.body.className = isChat ? "chatting" : "completing";
  document.title = status.model;
  find("model").textContent = status.model;
  find("welcome-title").textContent = isChat ? "Ask the model something" : "Begin a text";
  find("welcome-text").textContent = isChat
    ? "It sees this whole conversation with each message, until you clear it."
    : "The model has no chat template: it continues what you write.";
  find("prompt-label").textContent = isChat ? "Message" : "Beginning of the text";
  prompt.placeholder = isChat ? "Write a message" : "Write the beginning of a text";
  find("send").textContent = isChat ? "Send" : "Complete";
  find("system-field").hidden = !isChat;
  find("max_tokens").max = status.limits.max_seq_len;
  find("max_tokens").placeholder = isChat ? "What fits" : "16";
  if (!isChat) {
    // As an attribute, so that Reset comes back to it.
    find("max_tokens").setAttribute("value", Math.min(DEFAULT_COMPLETION, Math.floor(status.limits.max_seq_len / 2)));
  }
  find("limits").textContent = `Prompt and answer together have at most ${together} tokens.`;
  find("send").disabled = false;
}

// ---- Requests and streams ----------------------------------------------------------------------------------------

/** A request that did not end well; the message is for the reader. */
class RequestError extends Error {}

/** Return what an error response means, in words. */
async function wordsOf(response) {
  if (response.status === 401) return "The server wants an API key. Reload the page and enter the key as the password.";
  let words = `The server answered with status ${response.status}.`;
  try {
    words = (await response.json()).error.message;
  } catch {
    // From a proxy, say: no body of the API.
  }
  if (response.status !== 429) return words;
  const seconds = Number(response.headers.get("Retry-After"));
  return `${words.replace(/[.]?$/, ".")} Try again${seconds > 0 ? ` in ${seconds} s` : " in a moment"}.`;
}

async function post(path, body, signal) {
  let response;
  try {
    response = await fetch(addressOf(path), {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(body),
      signal,
    });
  } catch (error) {
    if (signal?.aborted) throw error;
    throw new RequestError(NO_CONNECTION);
  }
  if (!response.ok) throw new RequestError(await wordsOf(response));
  return response;
}

/** Yield the events of a stream, parsed; return when it has ended as it should. */
async function* eventsOf(response, signal) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) break;
      const blocks = (rest + value).split(/\r?\n\r?\n/);
      rest = blocks.pop();
      for (const block of blocks) {
        if (!block.startsWith("data:")) continue; // a comment, by which a proxy keeps a connection alive
        const data = block.slice("data:".length).trim();
        if (data === "[DONE]") return;
        const event = JSON.parse(data);
        if (event.error) throw new RequestError(event.error.message);
        yield event;
      }
    }
  } catch (error) {
    if (signal.aborted || error instanceof RequestError) throw error;
    console.error(error); // whose message is for developers
  }
  throw new RequestError("The connection ended before the answer did.");
}

/** Return the body of the request for a turn. */
function requestFor(turn) {
  const body = { model: server.model, stream: true, stream_options: { include_usage: true } };
  for (const input of fields.querySelectorAll("input[name]")) {
    if (input.value !== "") body[input.name] = Number(input.value);
  }
  const stops = find("stop_strings").value.split("\n").filter(Boolean);
  if (stops.length) body.stop = stops.map((stop) => stop.replaceAll("\\n", "\n"));
  if (!server.has_chat_template) return { ...body, prompt: turn.prompt };

  const messages = [];
  const system = find("system").value.trim();
  if (system) messages.push({ role: "system", content: system });
  for (const { prompt, answer } of turns.filter((one) => one !== turn && one.answer)) {
    messages.push({ role: "user", content: prompt }, { role: "assistant", content: answer });
  }
  messages.push({ role: "user", content: turn.prompt });
  return { ...body, messages };
}

/** Ask for a turn's answer and show it as it comes. */
async function answer(turn) {
  running = new AbortController();
  const { signal } = running;
  const times = { start: performance.now(), first: null, last: null };
  let usage = null;
  let reason = null;
  showBusy(true);
  turn.view.answer.setAttribute("aria-busy", "true"); // read out when it is whole, not word by word
  try {
    const path = server.has_chat_template ? "v1/chat/completions" : "v1/completions";
    const response = await post(path, requestFor(turn), signal);
    for await (const event of eventsOf(response, signal)) {
      usage = event.usage ?? usage;
      const [choice] = event.choices;
      if (!choice) continue;
      reason = choice.finish_reason ?? reason;
      const text = choice.text ?? choice.delta.content;
      if (!text) continue;
      times.last = performance.now();
      if (!times.first) {
        times.first = times.last;
        turn.view.figures.textContent = firstInWords(times);
      }
      turn.answer += text;
      appendLater(turn, text);
    }
  } catch (error) {
    if (signal.aborted) reason = "aborted";
    else fail(turn, error);
  }
  running = null;
  flush();
  turn.view.answer.removeAttribute("aria-busy");
  turn.view.answer.classList.remove("writing");
  if (turn.answer) {
    turn.view.more.hidden = server.has_chat_template;
    turn.view.copy.hidden = !navigator.clipboard; // browsers have it over TLS and on localhost only
  }
  showBusy(false);
  // What was aborted has no usage: its text is counted.
  const tokens = usage?.completion_tokens ?? (await countTokens(turn.answer));
  const figures = inWords({ tokens, isExact: Boolean(usage), reason, times });
  turn.view.figures.textContent = figures;
  if (isFollowing) scrollToEnd();
  if (turn.view.error.hidden) tell(reason === "aborted" ? "Stopped" : `Complete: ${figures}`);
  poll();
}

async function countTokens(text) {
  if (!text) return null;
  try {
    const body = { model: server.model, prompt: text, add_special_tokens: false };
    return (await (await post("tokenize", body)).json()).count;
  } catch {
    return null; // the figures are then without it
  }
}

/** Return the figures of an answer. */
function inWords({ tokens, isExact, reason, times }) {
  const parts = [];
  if (tokens) parts.push(`${isExact ? "" : "about "}${tokens.toLocaleString("en")} token${tokens === 1 ? "" : "s"}`);
  if (tokens && times.first) parts.push(`${rateOf(tokens, times).toFixed(1)} tokens/s`);
  if (times.first) parts.push(firstInWords(times));
  if (reason === "length") parts.push("ended at the limit");
  else if (reason === "aborted") parts.push("stopped");
  else if (reason && reason !== "stop") parts.push(`ended by ${reason}`);
  return parts.join(" · ");
}

/** Return tokens a second: those after the first, whose time stands for itself; of all, if they came almost at once. */
function rateOf(tokens, { start, first, last }) {
  return 1000 * (last - first < MEASURABLE_MS ? tokens / (last - start) : (tokens - 1) / (last - first));
}

const firstInWords = ({ start, first }) => `first token after ${((first - start) / 1000).toFixed(2)} s`;

// ---- The conversation --------------------------------------------------------------------------------------------

function addTurn(text) {
  const article = find("turn").content.cloneNode(true).querySelector("article");
  const part = (selector) => article.querySelector(selector);
  const view = { article, answer: part(".answer"), error: part(".error"), figures: part(".figures") };
  Object.assign(view, { more: part(".continue"), copy: part(".copy") });
  const turn = { prompt: text, answer: "", view };
  part(".ask .text").textContent = text;
  part(".answer .who").textContent = server.model;
  view.text = part(".answer .text").appendChild(new Text());
  view.answer.classList.add("writing");
  part(".edit").onclick = () => edit(turn);
  part(".again").onclick = () => again(turn);
  view.more.onclick = () => send(turn.prompt + turn.answer);
  view.copy.onclick = () => copy(turn);
  turns.push(turn);
  conversation.append(article);
  return turn;
}

/** Remove a turn and all after it. */
function dropFrom(turn) {
  const at = turns.indexOf(turn);
  for (const { view } of turns.slice(at)) view.article.remove();
  turns = turns.slice(0, at);
}

async function send(text) {
  if (!text || running || !server) return;
  const invalid = fields.querySelector(":invalid");
  if (invalid) {
    if (!settings.open) settings.showModal();
    invalid.reportValidity();
    return;
  }
  if (editing) dropFrom(editing);
  stopEditing();
  find("welcome").hidden = true;
  isFollowing = true;
  prompt.value = "";
  prompt.focus(); // a button of a turn that has the focus is disabled, or gone
  const turn = addTurn(text);
  scrollToEnd();
  await answer(turn);
}

function edit(turn) {
  prompt.value = turn.prompt;
  prompt.focus();
  if (!server.has_chat_template) return; // texts stand each for itself: none is replaced
  stopEditing();
  editing = turn;
  turns.slice(turns.indexOf(turn)).forEach(({ view }) => view.article.classList.add("replaced"));
  find("editing").hidden = false;
}

function stopEditing() {
  editing = null;
  for (const { view } of turns) view.article.classList.remove("replaced");
  find("editing").hidden = true;
}

function again(turn) {
  if (server.has_chat_template) dropFrom(turn);
  send(turn.prompt);
}

async function copy(turn) {
  let words = "Copied";
  try {
    await navigator.clipboard.writeText(server.has_chat_template ? turn.answer : turn.prompt + turn.answer);
  } catch {
    words = "The browser did not allow it";
  }
  tell(words);
  turn.view.copy.textContent = words;
  setTimeout(() => (turn.view.copy.textContent = "Copy"), COPIED_MS);
}

function clear() {
  running?.abort();
  if (turns.length) dropFrom(turns[0]);
  stopEditing();
  find("welcome").hidden = false;
  find("clear").disabled = true;
  prompt.focus();
}

function fail(turn, error) {
  const words = error instanceof RequestError ? error.message : `The page has an error: ${error.message}`;
  turn.view.error.textContent = words;
  turn.view.error.hidden = false;
  tell(words);
}

function showBusy(isBusy) {
  find("send").hidden = isBusy;
  find("stop").hidden = !isBusy;
  find("clear").disabled = !turns.length;
  // While one answer is written, no other may begin, and none be taken away.
  for (const button of conversation.querySelectorAll("button")) button.disabled = isBusy;
}

/** Say something to those who do not see the page. */
function tell(words) {
  find("notice").textContent = words;
}

// ---- Text on its way to the screen -------------------------------------------------------------------------------

let waiting = null; // { turn, text }: what comes between two frames is laid out once

function appendLater(turn, text) {
  if (waiting) waiting.text += text;
  else {
    waiting = { turn, text };
    requestAnimationFrame(flush);
  }
}

function flush() {
  if (!waiting) return;
  const { turn, text } = waiting;
  waiting = null;
  turn.view.text.appendData(text); // not textContent anew: a selection in the text stays
  if (isFollowing) scrollToEnd();
}

function scrollToEnd() {
  conversation.scrollTop = conversation.scrollHeight;
}

conversation.addEventListener("scroll", () => {
  const below = conversation.scrollHeight - conversation.scrollTop - conversation.clientHeight;
  isFollowing = below < NEAR_PX;
});

// A phone is turned, its keyboard comes up, a message being written grows.
new ResizeObserver(() => isFollowing && scrollToEnd()).observe(conversation);

// ---- Keys, buttons, settings -------------------------------------------------------------------------------------

function stop() {
  running?.abort();
  prompt.focus(); // the button that had the focus is hidden
}

find("composer").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = prompt.value;
  if (text.trim()) send(server?.has_chat_template ? text.trim() : text);
});

prompt.addEventListener("keydown", (event) => {
  // While a text is composed (Japanese, Chinese), Enter takes the suggestion.
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  find("composer").requestSubmit();
});

document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || event.isComposing || settings.matches(":modal")) return;
  if (running) stop();
  else if (editing) cancelEdit();
});

function cancelEdit() {
  stopEditing();
  prompt.value = "";
  prompt.focus();
}

find("stop").addEventListener("click", stop);
find("clear").addEventListener("click", clear);
find("cancel-edit").addEventListener("click", cancelEdit);
find("open-settings").addEventListener("click", () => settings.showModal());
fields.addEventListener("submit", (event) => {
  if (isWide.matches) event.preventDefault(); // Enter in a field would close what is a part of the page there
});

function placeSettings() {
  settings.close();
  settings.open = isWide.matches; // by the attribute: show() would take the focus
}

isWide.addEventListener("change", placeSettings);
placeSettings();
document.addEventListener("visibilitychange", () => {
  if (document.hidden) clearTimeout(pollTimer);
  else poll();
});
// A browser keeps a page that was left, with its requests, for a possible "back": the engine would go on for nobody.
addEventListener("pagehide", () => running?.abort());
prompt.focus();
poll();
