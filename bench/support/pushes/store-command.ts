/** The command with which a router stores pushes, for benches of Redis alone. */
import type { Combination } from '../../../common/cluster/inbox/combine.js';
import { type InboxBounds, storePushes } from '../../../common/cluster/inbox/push.js';
import { IdFloor } from '../../../common/redis/identity/id-floor.js';
import { sealPush } from '../../../common/wire/push-envelope.js';
import { PAYLOAD_BYTES } from './timed-payload.js';

export type Argument = string | number | Buffer;

const CONTENT = { contentType: '', payload: Buffer.alloc(PAYLOAD_BYTES, '.') };

export interface StoreCommand {
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
  readonly combination?: Combination | undefined;
}

export function channelOf({ tag }: StoredPush): string {
  return `ll:{${tag}}`;
}

/** As published without being stored. */
export function envelopeOf({ clientId, ttlMs }: StoredPush): Buffer {
  const replyChannel = 'lr:{1234}:router:00000000-0000-0000-0000-000000000000';
  return sealPush(1_000_000, replyChannel, clientId, { ...CONTENT, ttlMs, whenSlow: 0 });
}

/** The call of the script that stores these pushes. */
export async function storeCommand(
  pushes: readonly StoredPush[],
  bounds: InboxBounds,
): Promise<StoreCommand> {
  const commands: (readonly Argument[])[] = [];
  const link = {
    idFloor: new IdFloor(),
    async execute(_name: string, args: readonly Argument[]) {
      commands.push(args);
      // Then it is called with its text.
      return { type: 'rejected', reason: 'NOSCRIPT' } as const;
    },
  };
  const stored = pushes.map((push) => {
    return { ...push, ...CONTENT, channel: channelOf(push), envelope: envelopeOf(push) };
  });
  await storePushes(link, stored, bounds);
  const [scriptText, ...args] = commands[1]!;
  return { scriptText: scriptText as string, args };
}
