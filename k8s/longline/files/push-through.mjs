/**
 * What `helm test` runs: a device that looks up its edge and connects there, and a push to it through
 * a router. Exits 0 when the device has received it.
 */
import { spawn } from 'node:child_process';

const { ROUTER, PUSH, EDGES, DEVICE_TOKEN, CA, EDGE_SCHEME = 'http' } = process.env;
const clientId = DEVICE_TOKEN ? subjectOf(DEVICE_TOKEN) : `helm-test-${process.pid}-${Date.now()}`;
const authorization = DEVICE_TOKEN ? { authorization: `Bearer ${DEVICE_TOKEN}` } : {};
const payload = `hello ${clientId}`;

const lookedUp = await fetch(`http://${ROUTER}/connect?clientId=${encodeURIComponent(clientId)}`, {
  headers: { accept: 'application/json', ...authorization },
  signal: AbortSignal.timeout(5_000),
});
if (!lookedUp.ok) fail(`the router says ${lookedUp.status}: ${await lookedUp.text()}`);
const { edgeId, url } = await lookedUp.json();
// Where devices outside would go may not be reachable from here; the edge's name is.
const { search } = new URL(url);
const device = await fetch(`${EDGE_SCHEME}://${edgeId}.${EDGES}/connect${search}`, {
  headers: { accept: 'text/event-stream', ...authorization },
});
if (!device.ok) fail(`${edgeId} says ${device.status}: ${await device.text()}`);
console.log(`connected to ${edgeId}, which devices reach at ${new URL(url).origin}`);

const command = ['dist/cli/main.js', 'push', clientId, payload, '--router', PUSH, '--json'];
if (CA) command.push('--ca', CA);
spawn(process.execPath, command, { stdio: ['ignore', 'inherit', 'inherit'] });
setTimeout(() => fail('the push has not arrived within 15 s'), 15_000);
let heard = '';
for await (const bytes of device.body) {
  heard += Buffer.from(bytes).toString();
  if (!heard.includes(`data: ${payload}\n`)) continue;
  console.log('the push has arrived');
  process.exit(0);
}
fail(`the edge has closed the connection after ${JSON.stringify(heard)}`);

/** Whom the token is for. */
function subjectOf(token) {
  return JSON.parse(Buffer.from(token.split('.')[1], 'base64url').toString()).sub;
}

function fail(why) {
  console.error(why);
  process.exit(1);
}
