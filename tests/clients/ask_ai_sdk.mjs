// SPDX-License-Identifier: Apache-2.0
// Vercel's ai SDK. Prints what came of each way to ask as JSON.
// Run as node --input-type=module - URL MODEL PROMPT CONTENT in the folder of its packages.
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, streamText, APICallError } from "ai";

const [url, model, prompt, content] = process.argv.slice(2);
const provider = createOpenAICompatible({ name: "ours", baseURL: url, apiKey: "none", includeUsage: true });
const options = { temperature: 0, maxOutputTokens: 12, maxRetries: 0 };

async function ways(model, prompt) {
  const whole = await generateText({ model, prompt, ...options });
  const stream = streamText({ model, prompt, ...options });
  let text = "";
  for await (const piece of stream.textStream) text += piece;
  return {
    texts: [whole.text, text],
    tokens: [whole.usage.outputTokens, (await stream.usage).outputTokens],
    reasons: [whole.finishReason, await stream.finishReason],
  };
}

async function raised(model, asked) {
  try {
    await generateText({ model, prompt: content, ...options, ...asked });
  } catch (error) {
    return [APICallError.isInstance(error), error.statusCode, error.isRetryable, error.message];
  }
}

async function history(model) {
  const messages = [{ role: "user", content }];
  const first = await generateText({ model, messages, ...options });
  messages.push(...first.response.messages, { role: "user", content: [{ type: "text", text: "Where?" }] });
  return (await generateText({ model, messages, ...options })).text;
}

const told = {
  history: await history(provider.chatModel(model)),
  chat: await ways(provider.chatModel(model), content),
  text: await ways(provider.completionModel(model), prompt),
  refused: await raised(provider.chatModel(model), { temperature: -1 }),
  "no such model": await raised(provider.chatModel("gpt-x"), {}),
};
console.log(JSON.stringify(told));
