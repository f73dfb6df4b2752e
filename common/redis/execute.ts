/**
 * Runs one Redis command through ioredis and reports whether it ran, did not run, or may have run.
 * A rejected ioredis promise does not say: `Connection is closed.` is the error both before and
 * after the command was sent. So this records whether the command was written to a socket.
 */
import { Writable } from 'node:stream';
import { type Cluster, Command, type Redis } from 'ioredis';
import { type CommandArgs, CommandBuffer } from './command-buffer.js';

export type Outcome<Reply> =
  | { readonly type: 'done'; readonly reply: Reply }
  /** Not executed. */
  | { readonly type: 'rejected'; readonly reason: string }
  /** Executed or not: the reply was lost or is late. */
  | { readonly type: 'unknown'; readonly reason: string };

/**
 * Error codes with which Redis rejects a command before it runs. In a script, Redis checks for the
 * write-related ones only before the first write (`scriptVerify*` in script.c, Redis 7.0). Any
 * other error may come from the middle of a script.
 */
const REJECTIONS = new Set([
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

/** ioredis's message after too many redirections; the server's last error follows. */
const REDIRECTIONS_EXHAUSTED = /^Too many Cluster redirections\. Last error: (?:ReplyError: )?/;

/**
 * Never rejects.
 * @param replyAs type of the strings in the reply: `bytes` where they may not be UTF-8
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
    return outcomeOfError((error as Error).message, wasSent);
  }
}

const commandBuffer = new CommandBuffer();

const corked = new WeakSet<Writable>();

/** Writes all commands of a turn with one system call; one each halves the publish rate. */
function corkForThisTurn(socket: Writable): void {
  if (corked.has(socket)) return;
  corked.add(socket);
  socket.cork();
  setImmediate(() => {
    corked.delete(socket);
    socket.uncork();
  });
}

/** Outcome of a command that failed with this error message. */
export function outcomeOfError(message: string, wasSent: boolean): Outcome<never> {
  const reason = message.replace(REDIRECTIONS_EXHAUSTED, '');
  const wasRejected = REJECTIONS.has(reason.split(' ', 1)[0]!);
  // ioredis still sends a command that timed out in its queue, as soon as it is connected.
  const maySendLater = reason === 'Command timed out';
  return { type: wasRejected || (!wasSent && !maySendLater) ? 'rejected' : 'unknown', reason };
}
