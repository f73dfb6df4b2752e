/**
 * One Redis command whose fate is said exactly. A rejected ioredis promise does not tell whether
 * the command may have run: `Connection is closed.` comes before as well as after it was sent. So
 * this watches whether the command was ever handed to a socket.
 */
import { Writable } from 'node:stream';
import { type Cluster, Command, type Redis } from 'ioredis';
import { type CommandArgs, CommandBuffer } from './command-buffer.js';

export type Outcome<Reply> =
  | { readonly type: 'done'; readonly reply: Reply }
  /** Surely not executed. */
  | { readonly type: 'rejected'; readonly reason: string }
  /** It may or may not have been executed. */
  | { readonly type: 'unknown'; readonly reason: string };

/**
 * Error codes with which Redis declines a command before it runs. Redis checks the write-related
 * ones in a script too, but only before its first write (`scriptVerify*` in script.c, Redis 7.0).
 * Any other error may come from the middle of a script.
 */
const DECLINED = new Set([
  'ASK',
  'BUSY',
  'CLUSTERDOWN',
  'CROSSSLOT',
  'LOADING',
  'MASTERDOWN',
  'MISCONF',
  'MOVED',
  'NOAUTH',
  'NOPERM',
  'NOREPLICAS',
  'NOSCRIPT',
  'OOM',
  'READONLY',
  'TRYAGAIN',
]);

/** How ioredis words that it gave up following redirections; the server's last error follows. */
const REDIRECTIONS_EXHAUSTED = /^Too many Cluster redirections\. Last error: (?:ReplyError: )?/;

/**
 * @param args as ioredis takes them
 * @param replyAs what strings in the reply become: text, or bytes where they may not be UTF-8
 */
export async function execute<Reply>(
  client: Redis | Cluster,
  name: string,
  args: CommandArgs,
  replyAs: 'text' | 'bytes' = 'text',
): Promise<Outcome<Reply>> {
  const replyEncoding = replyAs === 'text' ? 'utf8' : null;
  const command = new Command(name, [...args], { replyEncoding });
  let wasSent = false;
  command.toWritable = (socket) => {
    wasSent = true;
    if (socket instanceof Writable) corkForThisTurn(socket);
    commandBuffer.append(name, command.args as (string | Buffer)[]);
    return commandBuffer.take();
  };
  try {
    return { type: 'done', reply: (await client.sendCommand(command)) as Reply };
  } catch (error) {
    return fateOf((error as Error).message, wasSent);
  }
}

const commandBuffer = new CommandBuffer();

const corked = new WeakSet<Writable>();

/** One system call for all commands of a turn; one each halves what a process can publish. */
function corkForThisTurn(socket: Writable): void {
  if (corked.has(socket)) return;
  corked.add(socket);
  socket.cork();
  setImmediate(() => {
    corked.delete(socket);
    socket.uncork();
  });
}

/** What became of a command that failed. */
export function fateOf(message: string, wasSent: boolean): Outcome<never> {
  const reason = message.replace(REDIRECTIONS_EXHAUSTED, '');
  const wasDeclined = DECLINED.has(reason.split(' ', 1)[0]!);
  // ioredis sends a command that timed out in its queue all the same, as soon as it can.
  const maySendLater = reason === 'Command timed out';
  return { type: wasDeclined || (!wasSent && !maySendLater) ? 'rejected' : 'unknown', reason };
}
