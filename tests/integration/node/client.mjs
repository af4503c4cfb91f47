// Calls a running pixvox with nothing but its protos, and prints what came back as one JSON document.
//
//   node client.mjs HOST:PORT
//
// Ends with 1 and the failed assertion on stderr if the service does not keep its contract.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { setTimeout as sleep } from "node:timers/promises";
import { fileURLToPath } from "node:url";
import grpc from "@grpc/grpc-js";
import protoLoader from "@grpc/proto-loader";

const PNG_SIGNATURE = Buffer.from("89504e470d0a1a0a", "hex");
const MAX_MESSAGE_BYTES = 48 * 1024 * 1024;
const PAUSE_MS = 50;
const SPEECH = [
  "The first sen", "tence is ", "short. ", "The second one follows ", "while the first ", "is being spoken. ",
  "Words trickle ", "in as they would ", "from a language ", "model, ", "a few at ", "a time. ",
  "Nobody waits ", "for the end ", "of the text. ", "This is ", "the last ", "sentence.",
];

const definition = protoLoader.loadSync(
  ["image_service", "speech_service", "model_service"].map((name) => `pixvox/v1/${name}.proto`).concat("rpc_status.proto"),
  {
    includeDirs: [fileURLToPath(new URL("../../../protos", import.meta.url)), fileURLToPath(new URL(".", import.meta.url))],
    keepCase: true,
    longs: String,
    enums: String,
    defaults: true,
    oneofs: true,
  },
);
const { pixvox } = grpc.loadPackageDefinition(definition);

const [target] = process.argv.slice(2);
if (!target) {
  console.error("usage: node client.mjs HOST:PORT");
  process.exit(2);
}
const options = {
  "grpc.max_receive_message_length": MAX_MESSAGE_BYTES,
  "grpc.max_send_message_length": MAX_MESSAGE_BYTES,
};
const images = new pixvox.v1.ImageService(target, grpc.credentials.createInsecure(), options);
const speech = new pixvox.v1.SpeechService(target, grpc.credentials.createInsecure(), options);

try {
  const generated = await generateImage();
  const results = {
    generate_image: generated.result,
    edit_image: await editImage(generated.data),
    stream_speech: await streamSpeech(),
    error: await refusedImage(),
    stream_error: await refusedSpeech(),
  };
  console.log(JSON.stringify(results, null, 2));
} catch (error) {
  console.error(error);
  process.exitCode = 1;
} finally {
  images.close();
  speech.close();
}

async function generateImage() {
  const response = await unary(images, "GenerateImage", {
    prompt: "a lighthouse at dusk",
    size: { width: 320, height: 200 },
    seed: 7,
    format: "IMAGE_FORMAT_PNG",
    delivery: "DELIVERY_INLINE",
    request_id: "node-generate",
    labels: { client: "node" },
  });
  assert.equal(response.images.length, 1);
  assert.equal(response.receipt.request_id, "node-generate");
  return { data: response.images[0].data, result: pictureFacts(response, [320, 200]) };
}

async function editImage(data) {
  const response = await unary(images, "EditImage", {
    prompt: "make it grayscale and rotate it by 90 degrees",
    images: [{ data }],
    format: "IMAGE_FORMAT_PNG",
    delivery: "DELIVERY_INLINE",
  });
  assert.notDeepEqual(response.images[0].data, data);
  return pictureFacts(response, [200, 320]);
}

function pictureFacts(response, size) {
  const [{ data, mime_type, sha256 }] = response.images;
  assert.ok(data.subarray(0, 8).equals(PNG_SIGNATURE), "the picture begins as a PNG does");
  // IHDR is the first chunk: length, name, width, height.
  assert.deepEqual([data.readUInt32BE(16), data.readUInt32BE(20)], size);
  assert.equal(mime_type, "image/png");
  assert.equal(createHash("sha256").update(data).digest("hex"), sha256);
  assert.notEqual(response.receipt.provider, "");
  const { provider, model, request_id } = response.receipt;
  return { bytes: data.length, size, sha256, provider, model, request_id, warnings: response.warnings };
}

async function streamSpeech() {
  const call = speech.StreamSpeech(deadline());
  const heard = { order: [], sha256: createHash("sha256"), bytes: 0, chunks: 0, offset: 0n, firstAudio: null };
  call.on("data", (response) => listen(heard, response));
  const ended = endOf(call);

  call.write({ config: { language_code: "en", format: { encoding: "AUDIO_ENCODING_PCM_S16LE", sample_rate_hertz: 16000 } } });
  let lastWrite;
  for (const [index, text] of SPEECH.entries()) {
    lastWrite = performance.now();
    call.write({ text });
    if (text.endsWith("time. ")) call.write({ flush: { id: "half" } });
    if (index < SPEECH.length - 1) await sleep(PAUSE_MS);
  }
  call.end();

  const status = await ended;
  assert.equal(status.code, grpc.status.OK, status.details);
  return speechFacts(heard, lastWrite);
}

function listen(heard, response) {
  const kind = response.message;
  if (kind !== "audio" || heard.order.at(-1) !== "audio") heard.order.push(kind);
  if (kind === "started") heard.started = response.started;
  if (kind === "flushed") heard.flushed = response.flushed.id;
  if (kind === "summary") heard.summary = response.summary;
  if (kind !== "audio") return;
  heard.firstAudio ??= performance.now();
  const { sequence, offset_samples, data } = response.audio;
  assert.equal(sequence, String(heard.chunks), "sequence is contiguous");
  assert.equal(BigInt(offset_samples), heard.offset, "audio follows without a gap");
  assert.ok(data.length > 0 && data.length % 2 === 0, "a chunk is whole samples");
  heard.chunks += 1;
  heard.bytes += data.length;
  heard.offset += BigInt(data.length / 2);
  heard.sha256.update(data);
}

function speechFacts(heard, lastWrite) {
  const { order, started, summary, chunks, bytes } = heard;
  const sha256 = heard.sha256.digest("hex");
  assert.equal(order[0], "started");
  assert.equal(order.at(-1), "summary");
  assert.ok(heard.firstAudio !== null && heard.firstAudio < lastWrite, "audio comes before the last text was written");
  assert.equal(heard.flushed, "half");
  assert.equal(summary.sha256, sha256);
  assert.equal(summary.chunks, String(chunks));
  assert.equal(summary.size_bytes, String(bytes));
  assert.ok(bytes / 2 > started.format.sample_rate_hertz, "more than a second was spoken");
  const { provider, model, voice } = started;
  const audio_before_last_text_ms = Math.round(lastWrite - heard.firstAudio);
  return { provider, model, voice, order, chunks, bytes, sha256, audio_before_last_text_ms };
}

async function refusedImage() {
  const error = await unary(images, "GenerateImage", { prompt: "" }).then(() => null, (failure) => failure);
  assert.ok(error, "an empty prompt is refused");
  const facts = errorFacts(error);
  assert.equal(facts.code, "INVALID_ARGUMENT");
  assert.equal(facts.reason, "INVALID_REQUEST");
  assert.equal(facts.field, "prompt");
  return facts;
}

async function refusedSpeech() {
  const call = speech.StreamSpeech(deadline());
  call.on("data", () => assert.fail("a stream without a config answers nothing"));
  const ended = endOf(call);
  call.write({ text: "No config came before this." });
  const facts = errorFacts(await ended);
  assert.equal(facts.code, "INVALID_ARGUMENT");
  assert.equal(facts.reason, "STREAM_ORDER");
  return facts;
}

function errorFacts({ code, details, metadata }) {
  const [packed] = metadata.get("grpc-status-details-bin");
  assert.ok(packed, "an error comes with details");
  const status = decoded("Status", packed);
  assert.equal(status.code, code);
  const infos = detailsOf(status, "ErrorInfo");
  assert.equal(infos.length, 1);
  assert.equal(infos[0].domain, "pixvox");
  const [violation] = detailsOf(status, "BadRequest").flatMap((bad) => bad.field_violations);
  return { code: grpc.status[code], reason: infos[0].reason, field: violation?.field ?? "", message: details };
}

function detailsOf(status, name) {
  return status.details
    .filter(({ type_url }) => type_url.endsWith(`/google.rpc.${name}`))
    .map(({ value }) => decoded(name, value));
}

function decoded(name, bytes) {
  return definition[`google.rpc.${name}`].deserialize(bytes);
}

function unary(client, method, request) {
  return new Promise((resolve, reject) => {
    client[method](request, deadline(), (error, response) => (error ? reject(error) : resolve(response)));
  });
}

function endOf(call) {
  // A status that is not OK comes as an error as well; without a listener that would end the process.
  call.on("error", () => {});
  return new Promise((resolve) => call.on("status", resolve));
}

function deadline() {
  return { deadline: Date.now() + 30_000 };
}
