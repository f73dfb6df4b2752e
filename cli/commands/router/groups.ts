/** `longline groups`: members of groups, and pushes to them. */
import { text } from 'node:stream/consumers';
import {
  type DeleteGroupResponse,
  GroupServiceClient,
  type JoinGroupResponse,
  type LeaveGroupResponse,
  type ListGroupsResponse,
  type ListMembersResponse,
  PushGroupRequest,
  type PushGroupResponse,
} from '../../../proto/gen/longline/v1/group.js';
import { type ClientFailure, Verdict } from '../../../proto/gen/longline/v1/push.js';
import { Failure } from '../../terminal/failure.js';
import { plural } from '../format.js';
import { type PushOptions, pushOf } from './push.js';
import { CALL_SLACK_MS, callService, type RouterOptions } from './router-call.js';

/** Maximum number of members in one call. */
const MEMBERS_MAX = 10_000;
const PAGE_SIZE = 10_000;
/**
 * A push to a big group is split into calls of this duration; the command prints its progress after
 * each.
 */
const PROGRESS_MS = 5_000;

export interface ListOptions extends RouterOptions {
  readonly member?: string;
}

/** Prints all groups, or those of a member. @throws Failure as `callService` */
export async function list({ member = '', ...options }: ListOptions): Promise<void> {
  await printPages(options, async (pageToken) => {
    const request = { member, pageSize: PAGE_SIZE, pageToken };
    const page = await callService<GroupServiceClient, ListGroupsResponse>(
      GroupServiceClient,
      options,
      CALL_SLACK_MS,
      (client, ...rest) => client.listGroups(request, ...rest),
    );
    return { names: page.groups, nextPageToken: page.nextPageToken };
  });
}

/** Prints the members of a group. @throws Failure as `callService` */
export async function members(group: string, options: RouterOptions): Promise<void> {
  await printPages(options, async (pageToken) => {
    const request = { group, pageSize: PAGE_SIZE, pageToken };
    const page = await callService<GroupServiceClient, ListMembersResponse>(
      GroupServiceClient,
      options,
      CALL_SLACK_MS,
      (client, ...rest) => client.listMembers(request, ...rest),
    );
    return { names: page.members, nextPageToken: page.nextPageToken };
  });
}

/**
 * Adds or removes members, and returns the exit status: 0 when none has failed.
 * @param names `-` alone reads names, one a line, from standard input
 * @throws Failure as `callService`
 */
export async function change(
  change: 'join' | 'leave',
  group: string,
  names: readonly string[],
  options: RouterOptions,
): Promise<number> {
  const all = names.length === 1 && names[0] === '-' ? await linesOfInput() : names;
  const total = { changed: 0, failed: 0, failures: [] as ClientFailure[] };
  for (let i = 0; i < all.length; i += MEMBERS_MAX) {
    const request = { group, members: all.slice(i, i + MEMBERS_MAX) };
    const response = await callService<GroupServiceClient, JoinGroupResponse | LeaveGroupResponse>(
      GroupServiceClient,
      options,
      CALL_SLACK_MS,
      (client, ...rest) =>
        change === 'join'
          ? client.joinGroup(request, ...rest)
          : client.leaveGroup(request, ...rest),
    );
    total.changed += 'joined' in response ? response.joined : response.left;
    total.failed += response.failed;
    total.failures.push(...response.failures);
  }
  const { changed, failed, failures } = total;
  const done = change === 'join' ? 'joined' : 'left';
  if (options.json) console.log(JSON.stringify({ group, [done]: changed, failed, failures }));
  else {
    console.log(`${plural(changed, 'member')} ${done}, ${failed} failed`);
    printFailures(failures);
  }
  return failed === 0 ? 0 : 1;
}

/** Removes all members of a group. @throws Failure as `callService` */
export async function remove(group: string, options: RouterOptions): Promise<void> {
  const { removed } = await callService<GroupServiceClient, DeleteGroupResponse>(
    GroupServiceClient,
    options,
    undefined,
    (client, ...rest) => client.deleteGroup({ group }, ...rest),
  );
  if (options.json) console.log(JSON.stringify({ group, removed }));
  else console.log(`${plural(removed, 'member')} removed`);
}

export interface GroupPushOptions extends PushOptions {
  /** Clients per second. */
  readonly rate?: number;
}

/**
 * Pushes to all members, and returns the exit status: 0 when all pushes have a verdict.
 * @param payload `-` reads standard input
 * @throws Failure as `callService`, and when a push to a part of the group was stopped
 */
export async function push(
  group: string,
  payload: string,
  options: GroupPushOptions,
): Promise<number> {
  const push = await pushOf(payload, options);
  const common = { group, ...push, clientsPerSecond: options.rate ?? 0 };
  const counts = new Map<string, number>();
  const failures: ClientFailure[] = [];
  let failed = 0;
  let resumeToken = '';
  do {
    const request = PushGroupRequest.fromPartial({ ...common, resumeToken });
    const response = await callService<GroupServiceClient, PushGroupResponse>(
      GroupServiceClient,
      options,
      PROGRESS_MS + request.waitMs,
      (client, ...rest) => client.pushGroup(request, ...rest),
    );
    for (const { verdict, count } of response.counts) {
      const name = Verdict[verdict]?.replace('VERDICT_', '') ?? `verdict ${verdict}`;
      counts.set(name, (counts.get(name) ?? 0) + count);
    }
    failed += response.failed;
    failures.push(...response.failures);
    const { stopped } = response;
    resumeToken = response.resumeToken;
    if (resumeToken !== '' && stopped?.code !== 'DEADLINE_EXCEEDED') {
      throw new Failure(`stopped after ${describe(counts)}: ${stopped?.code}: ${stopped?.message}`);
    }
    if (resumeToken !== '') console.error(`so far ${describe(counts)}`);
  } while (resumeToken !== '');
  const result = { group, counts: Object.fromEntries(counts), failed };
  console.log(options.json ? JSON.stringify(result) : `${describe(counts)}, ${failed} failed`);
  if (!options.json) printFailures(failures);
  return failed === 0 && !counts.has('UNKNOWN') ? 0 : 1;
}

function describe(counts: ReadonlyMap<string, number>): string {
  if (counts.size === 0) return 'no clients';
  return Array.from(counts, ([name, count]) => `${count} ${name}`).join(', ');
}

function printFailures(failures: readonly ClientFailure[]): void {
  for (const { clientId, failure } of failures) {
    console.log(`${clientId}  ${failure?.code}: ${failure?.message}`);
  }
}

async function printPages(
  { json }: RouterOptions,
  readPage: (token: string) => Promise<{ names: string[]; nextPageToken: string }>,
): Promise<void> {
  const all: string[] = [];
  let token = '';
  do {
    const { names, nextPageToken } = await readPage(token);
    if (json) all.push(...names);
    else for (const name of names) console.log(name);
    token = nextPageToken;
  } while (token !== '');
  if (json) console.log(JSON.stringify(all));
}

async function linesOfInput(): Promise<string[]> {
  const lines = (await text(process.stdin)).split(/\r?\n/);
  return lines.filter((line) => line !== '');
}
