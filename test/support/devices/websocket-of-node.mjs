/**
 * Node's own WebSocket (undici's) as a client for tests, in a process of its own, which can be told to
 * have one: a JSON line per event on standard output, a line of standard input per message to send.
 */
import { createInterface } from 'node:readline';

const [url, ...subprotocols] = process.argv.slice(2);
const say = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

const socket = new WebSocket(url, subprotocols);
socket.binaryType = 'arraybuffer';
socket.onopen = () => say({ type: 'open', protocol: socket.protocol });
socket.onmessage = ({ data }) => {
  if (typeof data === 'string') say({ type: 'message', text: data });
  else say({ type: 'message', base64: Buffer.from(data).toString('base64') });
};
socket.onclose = ({ code, reason }) => {
  say({ type: 'close', code, reason });
  process.stdin.destroy();
};
createInterface({ input: process.stdin }).on('line', (line) => socket.send(line));
