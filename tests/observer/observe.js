// An observer that is not written in Python. It knows nothing of heartbus but docs/asyncapi.yaml,
// given as JSON: `node observe.js DOCUMENT check`, or `node observe.js DOCUMENT listen URL KIND`,
// which tells every message until one of KIND.
"use strict";

const fs = require("node:fs");
const assert = require("node:assert");
const { decode } = require("@msgpack/msgpack");

const file = process.argv[2];
const document = JSON.parse(fs.readFileSync(file, "utf8"));

// A schema that follows the references of the document.
function validators() {
  const Ajv = require("ajv").default;
  const ajv = new Ajv({ strict: false, allErrors: true });
  ajv.addSchema({ $id: "heartbus", components: document.components });
  return (kind) => ajv.compile({ $ref: `heartbus#/components/messages/${kind}/payload` });
}

// Whole numbers beyond 2^53 are of type BigInt; JSON has none, and bytes are base64 there.
function plain(value) {
  if (typeof value === "bigint") return Number(value);
  if (value instanceof Uint8Array) return Buffer.from(value).toString("base64");
  if (Array.isArray(value)) return value.map(plain);
  if (value !== null && typeof value === "object") {
    return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, plain(inner)]));
  }
  return value;
}

function checkDocument() {
  const Ajv = require("ajv").default;
  const formats = require("ajv-formats").default;
  const ajv = new Ajv({ strict: false, meta: false, validateSchema: false }); // it brings draft-07
  formats(ajv);
  const valid = ajv.compile(require("@asyncapi/specs").schemas["3.0.0"]);
  assert.ok(valid(document), JSON.stringify(valid.errors, null, 2));
}

// Node's own message differs from version to version, and where it is given one it shows no values.
function differing(kind, decoded, written) {
  return `${kind}: decoded ${JSON.stringify(decoded)}, but the document has ${JSON.stringify(written)}`;
}

function checkExamples() {
  const validator = validators();
  let count = 0;
  for (const [kind, message] of Object.entries(document.components.messages)) {
    const decoded = plain(decode(Buffer.from(message["x-msgpack"], "base64"), { useBigInt64: true }));
    assert.deepStrictEqual(decoded, message.examples[0].payload, differing(kind, decoded, message.examples[0].payload));
    const valid = validator(kind);
    assert.ok(valid(decoded), `${kind}: ${JSON.stringify(valid.errors, null, 2)}`);
    count += 1;
  }
  return count;
}

// Messages are told as lines of JSON, with what the document says of each.
async function listen(url, last) {
  const { connect } = require("@nats-io/transport-node");
  const validator = validators();
  const compiled = new Map();
  const connection = await connect({ servers: url });
  const subscription = connection.subscribe(">");
  await connection.flush();
  console.log(JSON.stringify({ listening: true }));
  for await (const message of subscription) {
    const kind = message.headers?.get("ce-type");
    if (!kind) continue; // what is not of heartbus, or is no news
    if (!compiled.has(kind)) compiled.set(kind, validator(kind));
    const payload = plain(decode(message.data, { useBigInt64: true }));
    const valid = compiled.get(kind);
    console.log(
      JSON.stringify({
        subject: message.subject,
        type: message.headers.get("Content-Type"),
        payload,
        valid: valid(payload),
        errors: valid.errors,
      }),
    );
    if (kind === last) break;
  }
  await connection.close();
}

async function main() {
  if (process.argv[3] === "check") {
    checkDocument();
    console.log(JSON.stringify({ examples: checkExamples() }));
  } else {
    await listen(process.argv[4], process.argv[5]);
  }
}

main().catch((error) => {
  console.error(error);
  process.exit(1);
});
