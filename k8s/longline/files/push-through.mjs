/**
 * What `helm test` runs: a device that looks up its edge and connects there, and a push to it through
 * a router. Exits 0 when the device has received it.
 */
import { spawn } from 'node:child_process';

const { ROUTER, PUSH, EDGES } = process.env;
const clientId = `helm-test-${process.pid}-${Date.now()}`;
const payload = `hello ${clientId}`;

const lookedUp = await fetch(`http://${ROUTER}/connect?clientId=${clientId}`, {
  headers: { accept: 'application/json' },
  signal: AbortSignal.timeout(5_000),
});
if (!lookedUp.ok) fail(`the router says ${lookedUp.status}: ${await lookedUp.text()}`);
const { edgeId, url } = await lookedUp.json();
// Where devices outside would go may not be reachable from here; the edge's name is.
const { search } = new URL(url);
const device = await fetch(`http://${edgeId}.${EDGES}/connect${search}`, {
  headers: { accept: 'text/event-stream' },
});
if (!device.ok) fail(`${edgeId} says ${device.status}: ${await device.text()}`);
console.log(`connected to ${edgeId}, which devices reach at ${new URL(url).origin}`);

const command = ['dist/cli/main.js', 'push', clientId, payload, '--router', PUSH, '--json'];
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

function fail(why) {
  console.error(why);
  process.exit(1);
}
