/** The command with which a router stores a push, for benches of Redis alone. */
import { type InboxBounds, storePush } from '../../../common/cluster/inbox/push.js';
import { sealPush } from '../../../common/wire/push-envelope.js';
import { PAYLOAD_BYTES } from './timed-payload.js';

export type Argument = string | number | Buffer;

export interface StoreCommand {
  readonly channel: string;
  /** As published without being stored. */
  readonly envelope: Buffer;
  readonly scriptText: string;
  /** Everything after the script's text or hash: number of keys, keys, arguments. */
  readonly args: readonly Argument[];
}

export interface StoredPush {
  readonly tag: string;
  readonly clientId: string;
  readonly ttlMs: number;
  /** Empty: none. */
  readonly idempotencyKey: string;
}

export async function storeCommand(push: StoredPush, bounds: InboxBounds): Promise<StoreCommand> {
  const { tag, clientId, ttlMs, idempotencyKey } = push;
  const sent = { clientId, contentType: '', ttlMs, payload: Buffer.alloc(PAYLOAD_BYTES, '.') };
  const replyChannel = 'lr:{1234}:router:00000000-0000-0000-0000-000000000000';
  const envelope = sealPush({ queryId: 1_000_000, replyChannel, ...sent });
  const channel = `ll:{${tag}}`;
  const commands: (readonly Argument[])[] = [];
  const link = {
    async execute(_name: string, args: readonly Argument[]) {
      commands.push(args);
      // Then it is called with its text.
      return { type: 'rejected', reason: 'NOSCRIPT' } as const;
    },
  };
  await storePush(link, { channel, envelope, idempotencyKey, ...sent }, bounds);
  const [scriptText, ...args] = commands[1]!;
  return { channel, envelope, scriptText: scriptText as string, args };
}
