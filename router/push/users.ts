/**
 * Requests for all devices of a user. The devices are those that edges have noted in Redis; each of
 * them is then a client like any other, with an inbox, a cursor and a verdict of its own.
 */
import { readDevices } from '../../common/cluster/presence/user-devices.js';
import { type Rejection, rejection } from '../../common/process/errors.js';
import type { ScriptLink } from '../../common/redis/script.js';
import { clientIdOf, rejectUser } from '../../common/wire/client-id.js';
import type {
  DeviceResult,
  DisconnectResponse,
  GetPresenceResponse,
  PushUserRequest,
  PushUserResponse,
  Verdict,
} from '../../proto/gen/longline/v1/push.js';
import type { Caller } from './flight/push-trace.js';
import type { Pusher } from './pusher.js';

interface UsersOptions {
  readonly pusher: Pick<Pusher, 'push' | 'presence' | 'disconnect' | 'rejected' | 'shardQueries'>;
  readonly link: ScriptLink;
  /** Devices of one user; requests for users with more are rejected. */
  readonly devicesMax: number;
}

export class Users {
  constructor(readonly options: UsersOptions) {}

  /**
   * @param call when the response must be ready, in ms of the monotonic clock, and its trace
   * @param rejectPushes whether the caller may not send this number of pushes now
   */
  async push(
    { user, listDevices, ...push }: PushUserRequest,
    call: Caller & { readonly answerByMs: number },
    rejectPushes: (count: number) => Rejection | undefined,
  ): Promise<PushUserResponse | Rejection> {
    const { pusher } = this.options;
    const clientIds = await this.#clientIdsOf(user);
    if ('code' in clientIds) return pusher.rejected(clientIds);
    const overQuota = rejectPushes(clientIds.length);
    if (overQuota !== undefined) return pusher.rejected(overQuota);
    const results = await Promise.all(
      clientIds.map(async (clientId): Promise<DeviceResult> => {
        const value = await pusher.push({ ...push, clientId }, call.answerByMs, true, call);
        const outcome =
          'code' in value
            ? ({ $case: 'failure', value } as const)
            : ({ $case: 'push', value } as const);
        return { clientId, outcome };
      }),
    );
    const failed = results.filter(({ outcome }) => outcome?.$case === 'failure');
    const devices = listDevices ? results : failed;
    return { counts: countVerdicts(results), failed: failed.length, devices };
  }

  async presence(user: string, answerByMs: number): Promise<GetPresenceResponse | Rejection> {
    const answers = await this.#each(user, (id) => this.options.pusher.presence(id, answerByMs));
    if ('code' in answers) return answers;
    const connections = answers.flatMap((answer) => answer.connections);
    return { connections, complete: answers.every(({ complete }) => complete) };
  }

  async disconnect(user: string, answerByMs: number): Promise<DisconnectResponse | Rejection> {
    const answers = await this.#each(user, (id) => this.options.pusher.disconnect(id, answerByMs));
    if ('code' in answers) return answers;
    const closed = answers.reduce((sum, answer) => sum + answer.closed, 0);
    return { closed, complete: answers.every(({ complete }) => complete) };
  }

  /** The answers about all devices, or the first rejection, which `ask` has counted. */
  async #each<Answer extends object>(
    user: string,
    ask: (clientId: string) => Promise<Answer | Rejection>,
  ): Promise<Answer[] | Rejection> {
    const clientIds = await this.#clientIdsOf(user);
    if ('code' in clientIds) return this.options.pusher.rejected(clientIds);
    const answers = await Promise.all(clientIds.map(ask));
    const rejected = answers.find((answer): answer is Rejection => 'code' in answer);
    return rejected ?? (answers as Answer[]);
  }

  async #clientIdsOf(user: string): Promise<string[] | Rejection> {
    const { pusher, link, devicesMax } = this.options;
    const invalid = rejectUser(user);
    if (invalid !== undefined) return invalid;
    const channel = pusher.shardQueries.channelOf(user);
    const read = await readDevices(link, channel, user, devicesMax + 1);
    if (read.type !== 'done') {
      return rejection('REDIS_UNAVAILABLE', `${read.reason}; nothing was sent`);
    }
    if (read.reply.length > devicesMax) {
      const message = `the user has more than ${devicesMax} devices, the maximum; nothing was sent`;
      return rejection('USER_DEVICES_TOO_MANY', message);
    }
    if (read.reply.length === 0) return [user];
    return read.reply.map((device) => clientIdOf(user, device));
  }
}

function countVerdicts(results: readonly DeviceResult[]): PushUserResponse['counts'] {
  const counts = new Map<Verdict, number>();
  for (const { outcome } of results) {
    if (outcome?.$case !== 'push') continue;
    const { verdict } = outcome.value;
    counts.set(verdict, (counts.get(verdict) ?? 0) + 1);
  }
  return Array.from(counts, ([verdict, count]) => ({ verdict, count }));
}
