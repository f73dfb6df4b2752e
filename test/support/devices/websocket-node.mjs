/**
 * Node's built-in WebSocket client (undici) as a process, because it needs a command-line flag.
 * Prints one JSON line per event to standard output; sends each line of standard input as a
 * message.
 */
import { createInterface } from 'node:readline';

const [url, ...subprotocols] = process.argv.slice(2);
const print = (event) => process.stdout.write(`${JSON.stringify(event)}\n`);

const socket = new WebSocket(url, subprotocols);
socket.binaryType = 'arraybuffer';
socket.onopen = () => print({ type: 'open', protocol: socket.protocol });
socket.onmessage = ({ data }) => {
  if (typeof data === 'string') print({ type: 'message', text: data });
  else print({ type: 'message', base64: Buffer.from(data).toString('base64') });
};
socket.onclose = ({ code, reason }) => {
  print({ type: 'close', code, reason });
  process.stdin.destroy();
};
createInterface({ input: process.stdin }).on('line', (line) => socket.send(line));
