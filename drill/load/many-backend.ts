/**
 * The part of the backend that pushes to several clients at once, to a group or with PushMany. Its
 * history has a push for each client, all with the same number and attempts: an answer counts
 * clients and does not name them.
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
import {
  PushManyRequest,
  type PushManyResponse,
  PushServiceClient,
  Verdict,
} from '../../proto/gen/longline/v1/push.js';
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
  readonly groups: GroupServiceClient;
  readonly pushes: PushServiceClient;
}

/** As those of `Backend`. */
interface ManyBackendOptions {
  readonly routers: readonly string[];
  readonly history: HistoryInProgress;
  readonly random: Random;
  readonly firstNumber: number;
  readonly runId: string;
}

export class ManyBackend {
  readonly #routers: readonly Router[];
  #undecided = 0;
  #isClosed = false;

  constructor(
    readonly options: ManyBackendOptions,
    readonly ttlMs: number,
  ) {
    this.#routers = options.routers.map((address) => ({
      address,
      groups: new GroupServiceClient(address, credentials.createInsecure(), LINK_OPTIONS),
      pushes: new PushServiceClient(address, credentials.createInsecure(), LINK_OPTIONS),
    }));
  }

  /** Calls that are not acknowledged as stored for all clients yet. */
  get undecided(): number {
    return this.#undecided;
  }

  async push(clientIds: readonly string[], bytesMin: number): Promise<void> {
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
    const pushes = clientIds.map((clientId): Push => {
      return { ...common, clientId, collapseKey: '', appendTo: '', attempts: [] };
    });
    history.pushes.push(...pushes);
    const idempotencyKey = `${runId}:${number}`;
    const request = { payload, ttlMs: this.ttlMs, idempotencyKey };
    const isToGroup = random() < 0.5;
    const pushWith = (router: Router) =>
      isToGroup
        ? pushToGroup(router.groups, { ...request, group }, clientIds)
        : pushToMany(router.pushes, { ...request, clientIds: [...clientIds] });
    this.#undecided++;
    for (let failures = 1; !this.#isClosed; failures++) {
      const attempt = await attemptWith(pick(random, this.#routers), pushWith, pushes);
      if (isAccepted(attempt)) break;
      await sleep(backoffMs(failures, BACKOFF_MS_MAX, random));
    }
    this.#undecided--;
  }

  close(): void {
    this.#isClosed = true;
    for (const { groups, pushes } of this.#routers) {
      groups.close();
      pushes.close();
    }
  }
}

async function attemptWith(
  router: Router,
  pushWith: (router: Router) => Promise<Answer>,
  pushes: readonly Push[],
): Promise<Attempt> {
  const attempt: Attempt = {
    router: router.address,
    sentAtMs: performance.now(),
    endedAtMs: Number.POSITIVE_INFINITY,
    outcome: undefined,
    messageId: '',
    replacedId: '',
    detail: '',
  };
  for (const push of pushes) push.attempts.push(attempt);
  return Object.assign(attempt, await pushWith(router), { endedAtMs: performance.now() });
}

async function pushToGroup(
  client: GroupServiceClient,
  request: Partial<PushGroupRequest> & { readonly group: string },
  members: readonly string[],
): Promise<Answer> {
  // A failover may have lost some of the members.
  if (!(await join(client, request.group, members))) {
    return { ...NO_IDS, outcome: 'REJECTED', detail: 'not all members could join' };
  }
  const full = PushGroupRequest.fromPartial(request);
  const options = { deadline: deadlineIn(CALL_MS) };
  return new Promise((resolve) => {
    client.pushGroup(full, new Metadata(), options, (error, response) =>
      resolve(error === null ? answerOf(response) : answerOfError(error)),
    );
  });
}

function pushToMany(client: PushServiceClient, request: Partial<PushManyRequest>): Promise<Answer> {
  const full = PushManyRequest.fromPartial(request);
  const options = { deadline: deadlineIn(CALL_MS) };
  return new Promise((resolve) => {
    client.pushMany(full, new Metadata(), options, (error, response) =>
      resolve(error === null ? answerOf(response) : answerOfError(error)),
    );
  });
}

function join(client: GroupServiceClient, group: string, members: readonly string[]) {
  const request = { group, members: [...members] };
  const options = { deadline: deadlineIn(CALL_MS) };
  return new Promise<boolean>((resolve) => {
    client.joinGroup(request, new Metadata(), options, (error, response) =>
      resolve(error === null && response.failed === 0),
    );
  });
}

/** The backend trusts the counts, and does not know the number of members. */
function answerOf(response: PushGroupResponse | PushManyResponse): Answer {
  const { counts, failed, failures } = response;
  const stopped = 'stopped' in response ? response.stopped : undefined;
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
