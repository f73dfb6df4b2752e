/**
 * The part of the backend that pushes to a group. Its history has a push for each member, all with
 * the same number and attempts: an answer counts members and does not name them.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { credentials, Metadata, type ServiceError } from '@grpc/grpc-js';
import { backoffMs } from '../../common/process/backoff.js';
import { deadlineIn } from '../../common/process/grpc/calls.js';
import { LINK_OPTIONS } from '../../common/process/grpc-link.js';
import {
  GroupServiceClient,
  PushGroupRequest,
  type PushGroupResponse,
} from '../../proto/gen/longline/v1/group.js';
import { Verdict } from '../../proto/gen/longline/v1/push.js';
import { pick, type Random } from '../faults/random.js';
import type { Attempt, HistoryInProgress, Push } from '../history/history.js';
import { isAccepted } from '../history/history-index.js';
import { digestOf, makePayload } from './payload.js';
import type { Answer } from './router-stream.js';

const CALL_MS = 10_000;
const BACKOFF_MS_MAX = 2_000;
/** The only error code that leaves open whether anything was stored. */
const CODE_INTERNAL = 'INTERNAL';

const NO_IDS = { messageId: '', replacedId: '' };

interface Router {
  readonly address: string;
  readonly client: GroupServiceClient;
}

/** As those of `Backend`. */
interface GroupBackendOptions {
  readonly routers: readonly string[];
  readonly history: HistoryInProgress;
  readonly random: Random;
  readonly firstNumber: number;
  readonly runId: string;
}

export class GroupBackend {
  readonly #routers: readonly Router[];
  #undecided = 0;
  #isClosed = false;

  constructor(
    readonly options: GroupBackendOptions,
    readonly ttlMs: number,
  ) {
    this.#routers = options.routers.map((address) => ({
      address,
      client: new GroupServiceClient(address, credentials.createInsecure(), LINK_OPTIONS),
    }));
  }

  /** Pushes to groups that are not acknowledged as stored for all members yet. */
  get undecided(): number {
    return this.#undecided;
  }

  async push(members: readonly string[], bytesMin: number): Promise<void> {
    const { history, firstNumber, random, runId } = this.options;
    const number = history.pushes.length + firstNumber;
    const group = `drill-${runId}`;
    const payload = makePayload({ clientId: group, number }, bytesMin);
    const common = {
      number,
      isDurable: true,
      level: 'accepted',
      digest: digestOf(payload),
    } as const;
    const pushes = members.map((clientId): Push => {
      return { ...common, clientId, collapseKey: '', appendTo: '', attempts: [] };
    });
    history.pushes.push(...pushes);
    const idempotencyKey = `${runId}:${number}`;
    const request = { group, payload, ttlMs: this.ttlMs, idempotencyKey };
    this.#undecided++;
    for (let failures = 1; !this.#isClosed; failures++) {
      const attempt = await attemptWith(pick(random, this.#routers), request, pushes);
      if (isAccepted(attempt)) break;
      await sleep(backoffMs(failures, BACKOFF_MS_MAX, random));
    }
    this.#undecided--;
  }

  close(): void {
    this.#isClosed = true;
    for (const { client } of this.#routers) client.close();
  }
}

async function attemptWith(
  { address, client }: Router,
  request: Partial<PushGroupRequest>,
  pushes: readonly Push[],
): Promise<Attempt> {
  const full = PushGroupRequest.fromPartial(request);
  const attempt: Attempt = {
    router: address,
    sentAtMs: performance.now(),
    endedAtMs: Number.POSITIVE_INFINITY,
    outcome: undefined,
    messageId: '',
    replacedId: '',
    detail: '',
  };
  for (const push of pushes) push.attempts.push(attempt);
  // A failover may have lost some of the members.
  const haveJoined = await join(client, full.group, pushes);
  const answer: Answer = haveJoined
    ? await pushTo(client, full)
    : { ...NO_IDS, outcome: 'REJECTED', detail: 'not all members could join' };
  return Object.assign(attempt, answer, { endedAtMs: performance.now() });
}

function join(client: GroupServiceClient, group: string, pushes: readonly Push[]) {
  const request = { group, members: pushes.map(({ clientId }) => clientId) };
  const options = { deadline: deadlineIn(CALL_MS) };
  return new Promise<boolean>((resolve) => {
    client.joinGroup(request, new Metadata(), options, (error, response) =>
      resolve(error === null && response.failed === 0),
    );
  });
}

function pushTo(client: GroupServiceClient, request: PushGroupRequest): Promise<Answer> {
  const options = { deadline: deadlineIn(CALL_MS) };
  return new Promise((resolve) => {
    client.pushGroup(request, new Metadata(), options, (error, response) =>
      resolve(error === null ? answerOf(response) : answerOfError(error)),
    );
  });
}

/** The backend trusts the counts, and does not know the number of members. */
function answerOf({ counts, failed, failures, stopped }: PushGroupResponse): Answer {
  const isUnknown = counts.some(({ verdict }) => verdict === Verdict.VERDICT_UNKNOWN);
  const isDone = stopped === undefined && failed === 0 && !isUnknown;
  const { code = '', message = '' } = stopped ?? failures[0]?.failure ?? {};
  const outcome = isDone ? 'STORED' : 'UNKNOWN';
  return { ...NO_IDS, outcome, detail: isDone ? '' : `${code}: ${message}` };
}

function answerOfError({ metadata, details }: ServiceError): Answer {
  const [code] = metadata.get('longline-code');
  const isRejected = code !== undefined && code !== CODE_INTERNAL;
  return { ...NO_IDS, outcome: isRejected ? 'REJECTED' : 'UNANSWERED', detail: details };
}
