// A job's whole life through OpenAI's own client for Node: what it saw, as JSON on standard output.
import { createReadStream } from "node:fs";
import { createServer } from "node:http";
import OpenAI from "openai";

const { WOODSHED_URL, WOODSHED_KEY, TRAINING_FILE } = process.env;
const client = new OpenAI({ baseURL: `${WOODSHED_URL}/v1`, apiKey: WOODSHED_KEY, maxRetries: 0 });
// What is seen is named on standard error at once: where a program waits for ever, that says for what.
const seen = new Proxy({}, {
  set(all, name, value) {
    console.error(name);
    return Reflect.set(all, name, value);
  },
});

async function all(pages) {
  const found = [];
  for await (const each of pages) found.push(each);
  return found;
}

async function refusal(asking) {
  try {
    await asking;
  } catch (error) {
    if (!error.status) throw error;
    return { status: error.status, type: error.type, param: error.param, code: error.code, message: !!error.message };
  }
}

// Our own receiver of webhooks, checked with the client's helper.
let called;
const call = new Promise((resolve) => (called = resolve));
const receiver = createServer(async (request, response) => {
  const parts = await request.toArray();
  response.end();
  called({ body: Buffer.concat(parts).toString(), headers: request.headers });
});
await new Promise((listening) => receiver.listen(0, "127.0.0.1", listening));
const endpoint = await client.webhooks.create({
  name: "a program in Node",
  url: `http://127.0.0.1:${receiver.address().port}/`,
  event_types: ["fine_tuning.job.succeeded"],
});

const file = await client.files.create({ file: createReadStream(TRAINING_FILE), purpose: "fine-tune" });
seen.file = file;
seen.refused = await refusal(client.fineTuning.jobs.create({ model: "gpt-4o-mini", training_file: file.id }));
seen.unauthorised = await refusal(client.withOptions({ apiKey: "wsk-wrong" }).models.list());

const submitted = await client.fineTuning.jobs.create({
  model: "SmolLM2-135M-Instruct",
  training_file: file.id,
  suffix: "coach",
  seed: 7,
  metadata: { team: "money" },
  method: { type: "supervised", supervised: { hyperparameters: { n_epochs: 2 } } },
  preset: "balanced",
  priority: "high",
});
seen.submitted = submitted;
seen.listed = (await all(client.fineTuning.jobs.list({ limit: 1, metadata: { team: "money" } }))).map((job) => job.id);

let job = submitted;
while (job.woodshed.stage !== "done") {
  await new Promise((waited) => setTimeout(waited, 100));
  job = await client.fineTuning.jobs.retrieve(submitted.id);
}
seen.job = job;
seen.events = await all(client.fineTuning.jobs.listEvents(job.id, { limit: 2 }));
seen.checkpoints = await all(client.fineTuning.jobs.checkpoints.list(job.id, { limit: 1 }));
seen.figures = await (await client.files.content(job.result_files[0])).text();

const { body, headers } = await call;
receiver.close();
seen.called = await client.webhooks.unwrap(body, headers, endpoint.signing_secret);
const refused = (error) => error instanceof OpenAI.InvalidWebhookSignatureError;
seen.forged = await client.webhooks.unwrap(body.replace("ftjob-", "ftjob-x"), headers, endpoint.signing_secret).catch(refused);

const talk = { model: job.fine_tuned_model, messages: [{ role: "user", content: "What first?" }] };
seen.reply = await client.chat.completions.create(talk);
const chunks = await all(await client.chat.completions.create({ ...talk, stream: true, stream_options: { include_usage: true } }));
seen.streamed = chunks.map((chunk) => chunk.choices[0]?.delta.content ?? "").join("");
seen.usage = chunks.at(-1).usage;

seen.model = await client.models.retrieve(job.fine_tuned_model);
seen.deleted = [await client.models.delete(job.fine_tuned_model), await client.files.delete(file.id)];
seen.missing = [await refusal(client.models.retrieve(job.fine_tuned_model)), await refusal(client.files.retrieve(file.id))];
console.log(JSON.stringify(seen));
