/**
 * The controls of the cluster. Followers have no link to the leader, so each control writes an
 * entry of its own into one hash in Redis every few seconds, and reads all entries at the same
 * time. Only what operators see depends on it.
 */
import { z } from 'zod';
import { type SettingDigests, settingDigests } from '../../common/process/agreed-settings.js';
import type { BuildInfo } from '../../common/process/build-info.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { Script, type ScriptLink } from '../../common/redis/script.js';

const INTERVAL_MS = 3_000;
const SILENT_MS = 15_000;
/** A control that has not renewed its entry for this time is forgotten. */
const FORGET_MS = 60_000;
/** Controls that are read; more are ignored. */
const REPLICAS_MAX = 64;

/**
 * Input:  KEYS hash; ARGV own id, own description
 * Output: for each control: id, ms since it noted itself, description
 */
const NOTE = new Script(`
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
redis.call('HSET', KEYS[1], ARGV[1], string.format('%d %s', now, ARGV[2]))
redis.call('PEXPIRE', KEYS[1], ${FORGET_MS})
local found, all = {}, redis.call('HGETALL', KEYS[1])
for i = 1, #all, 2 do
  local at, text = string.match(all[i + 1], '^(%d+) (.*)$')
  local ageMs = at and now - at
  if not ageMs or ageMs > ${FORGET_MS} then
    redis.call('HDEL', KEYS[1], all[i])
  elseif #found < ${3 * REPLICAS_MAX} then
    for _, value in ipairs({all[i], math.max(ageMs, 0), text}) do found[#found + 1] = value end
  end
end
return found`);

const description = z.object({
  url: z.string(),
  version: z.string(),
  node: z.string(),
  commit: z.string(),
  settings: settingDigests,
});

export interface Replica extends BuildInfo {
  readonly id: string;
  /** URL of its operator API. */
  readonly url: string;
  readonly settings: SettingDigests;
  /** In ms of the monotonic clock of this process. */
  readonly heardAtMs: number;
}

/** Whether it has missed several renewals in a row. */
export function isSilent({ heardAtMs }: Replica): boolean {
  return performance.now() - heardAtMs > SILENT_MS;
}

export interface ReplicasOptions {
  readonly link: ScriptLink & Pick<RedisLink, 'names'>;
  readonly id: string;
  readonly url: string;
  readonly build: BuildInfo;
  readonly settings: SettingDigests;
}

export class Replicas {
  #all: readonly Replica[] = [];
  readonly #text: string;
  readonly #timer: NodeJS.Timeout;

  constructor(readonly options: ReplicasOptions) {
    const { url, build, settings } = options;
    this.#text = JSON.stringify({ url, ...build, settings });
    this.#timer = setInterval(() => void this.#note(), INTERVAL_MS);
    void this.#note();
  }

  /** By id; as they were when Redis answered last. */
  get all(): readonly Replica[] {
    return this.#all;
  }

  /** Removes this control from the list. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    const { link, id } = this.options;
    await link.execute('hdel', [link.names.controls, id]);
  }

  async #note(): Promise<void> {
    const { link, id } = this.options;
    const outcome = await NOTE.run(link, [link.names.controls], [id, this.#text], 'text', read);
    if (outcome.type === 'done') this.#all = outcome.reply;
  }
}

function read(values: (string | number)[]): Replica[] {
  const replicas: Replica[] = [];
  for (let i = 0; i < values.length; i += 3) {
    const [id, ageMs, text] = values.slice(i, i + 3);
    const parsed = description.safeParse(parseJson(String(text)));
    // Otherwise it is of a later version, or garbage.
    if (!parsed.success) continue;
    replicas.push({
      ...parsed.data,
      id: String(id),
      heardAtMs: performance.now() - Number(ageMs),
    });
  }
  return replicas.sort((a, b) => (a.id < b.id ? -1 : 1));
}

function parseJson(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}
