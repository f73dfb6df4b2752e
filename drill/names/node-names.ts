/**
 * A name that a drill moves to other addresses: loaded before a role (`node --import`), it answers
 * look-ups of the name from a file. Connections that are open stay with their server, as after a
 * change in DNS. No code of the role knows it.
 *
 * The file DRILL_NAME_FILE has the name and its address, with a space between them. It is read at
 * each look-up.
 */
import dns from 'node:dns';
import { readFileSync } from 'node:fs';

const file = process.env.DRILL_NAME_FILE;
const systemLookup = dns.lookup as (host: string, ...rest: unknown[]) => void;

function addressOf(host: string, path: string): string {
  const [name, address = host] = readFileSync(path, 'utf8').split(' ');
  return host === name ? address : host;
}

if (file !== undefined) {
  dns.lookup = ((host: string, ...rest: unknown[]) =>
    systemLookup(addressOf(host, file), ...rest)) as typeof dns.lookup;
}
