/**
 * Run by `helm test`: connects a device to the edge that a router names, and pushes to it through a
 * router. Exits 0 when the device has received the push.
 */
import { spawn } from 'node:child_process';

const { ROUTER, PUSH, EDGES, DEVICE_TOKEN, CA, EDGE_SCHEME = 'http' } = process.env;
const clientId = DEVICE_TOKEN ? subjectOf(DEVICE_TOKEN) : `helm-test-${process.pid}-${Date.now()}`;
const authorization = DEVICE_TOKEN ? { authorization: `Bearer ${DEVICE_TOKEN}` } : {};
const payload = `hello ${clientId}`;

const lookup = await fetch(`http://${ROUTER}/connect?clientId=${encodeURIComponent(clientId)}`, {
  headers: { accept: 'application/json', ...authorization },
  signal: AbortSignal.timeout(5_000),
});
if (!lookup.ok) fail(`the router answered ${lookup.status}: ${await lookup.text()}`);
const { edgeId, url } = await lookup.json();
// The URL for outside devices may be unreachable from this pod; the cluster name of the edge is
// not.
const { search } = new URL(url);
const device = await fetch(`${EDGE_SCHEME}://${edgeId}.${EDGES}/connect${search}`, {
  headers: { accept: 'text/event-stream', ...authorization },
});
if (!device.ok) fail(`${edgeId} answered ${device.status}: ${await device.text()}`);
console.log(`connected to ${edgeId}, whose URL for devices is ${new URL(url).origin}`);

const command = ['dist/cli/main.js', 'push', clientId, payload, '--router', PUSH, '--json'];
if (CA) command.push('--ca', CA);
spawn(process.execPath, command, { stdio: ['ignore', 'inherit', 'inherit'] });
setTimeout(() => fail('the push did not arrive within 15 s'), 15_000);
let received = '';
for await (const bytes of device.body) {
  received += Buffer.from(bytes).toString();
  if (!received.includes(`data: ${payload}\n`)) continue;
  console.log('the push arrived');
  process.exit(0);
}
fail(`the edge closed the connection after ${JSON.stringify(received)}`);

/** The `sub` claim, which is the clientId. */
function subjectOf(token) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString()).sub;
}

function fail(message) {
  console.error(message);
  process.exit(1);
}
