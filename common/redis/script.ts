/**
 * A Lua script, called by its hash (EVALSHA). A server without the script (new, failed over, SCRIPT
 * FLUSH) replies NOSCRIPT before anything runs, and then receives the text (EVAL).
 */
import { createHash } from 'node:crypto';
import { type Outcome, outcomeOfError } from './execute.js';
import type { RedisLink } from './redis-link.js';

/** The part of the link that scripts need. */
export type ScriptLink = Pick<RedisLink, 'execute' | 'idFloor'>;

/** Items for one call of a script, which blocks Redis for all its time: some 10 µs for each. */
export const ITEMS_MAX = 32;

/**
 * Items whose scopes are equal can go to one call: in a Redis Cluster, those with keys of one slot.
 */
export function scopeOf({ isCluster }: Pick<RedisLink, 'isCluster'>, channel: string): string {
  return isCluster ? channel : '';
}

/**
 * Lua for a script that does the same for several items. `each(count, item)` calls `item` with the
 * numbers from 1 to `count` and returns the lines that it returns. An item that fails does not keep
 * the others from being done: its line is a minus and the error. An error that all items have, as
 * of a Redis that is full, becomes the error of the script.
 */
export const LUA_ITEMS = `
local function each(count, item)
  local lines, at, failed = {}, 0, 0
  local function doRest()
    while at < count do
      at = at + 1
      lines[at] = item(at)
    end
  end
  -- One pcall for all, and not for each, because it costs as much as a small command.
  while at < count do
    local isDone, failure = pcall(doRest)
    if not isDone then
      -- Redis makes a text of the errors that pcall returns.
      lines[at] = '-' .. string.gsub(tostring(failure), '%c', ' ')
      if at == 1 or lines[at - 1] == lines[at] then failed = failed + 1 end
    end
  end
  if failed == count then return redis.error_reply(lines[1]) end
  return table.concat(lines, '\\n')
end
`;

/**
 * Variables in the text of a script that makes ids (identity/id-floor.ts): the floor of the first
 * id of a stream, Unix ms, and whether it is that of all ids.
 */
export const ID_FLOOR = 'idFloor';
export const IS_FLOOR_RAISED = 'isFloorRaised';

interface Text {
  readonly text: string;
  readonly sha1: string;
}

export class Script {
  readonly #plain: Text;
  /**
   * For a raised floor. Undefined for a script that makes no ids; one that does takes the floor as
   * its last argument.
   */
  readonly #raised: Text | undefined;

  constructor(text: string) {
    const makesIds = text.includes(ID_FLOOR);
    this.#plain = textOf(makesIds ? takingFloor(text, false) : text);
    this.#raised = makesIds ? textOf(takingFloor(text, true)) : undefined;
  }

  /** @param parse converts a reply to the result */
  run<Reply, Result>(
    link: ScriptLink,
    keys: readonly string[],
    args: readonly (string | number | Buffer)[],
    replyAs: 'text' | 'bytes',
    parse: (reply: Reply) => Result,
  ): Promise<Outcome<Result>> {
    const floor = this.#raised ? [link.idFloor.at(performance.now())] : [];
    const { text, sha1 } = this.#raised && link.idFloor.isRaised ? this.#raised : this.#plain;
    const argsOf = (script: string) => [script, keys.length, ...keys, ...args, ...floor];
    const parsed = (outcome: Outcome<Reply>): Outcome<Result> =>
      outcome.type === 'done' ? { type: 'done', reply: parse(outcome.reply) } : outcome;
    return link.execute<Reply>('evalsha', argsOf(sha1), replyAs).then((outcome) => {
      const isMissing = outcome.type === 'rejected' && outcome.reason.startsWith('NOSCRIPT');
      if (!isMissing) return parsed(outcome);
      return link.execute<Reply>('eval', argsOf(text), replyAs).then(parsed);
    });
  }

  /**
   * For a script with `LUA_ITEMS`. Resolves with an outcome for each item.
   * @param parse converts the line of an item to its result
   */
  async runEach<Result>(
    link: ScriptLink,
    count: number,
    keys: readonly string[],
    args: readonly (string | number | Buffer)[],
    parse: (line: string) => Result,
  ): Promise<readonly Outcome<Result>[]> {
    const outcomeOf = (line: string): Outcome<Result> =>
      line.startsWith('-')
        ? outcomeOfError(line.slice(1), true)
        : { type: 'done', reply: parse(line) };
    const read = (reply: string) => reply.split('\n').map(outcomeOf);
    const outcome = await this.run(link, keys, args, 'text', read);
    return outcome.type === 'done' ? outcome.reply : Array(count).fill(outcome);
  }
}

function takingFloor(text: string, isRaised: boolean): string {
  const variables = `${ID_FLOOR}, ${IS_FLOOR_RAISED}`;
  return `local ${variables} = tonumber(table.remove(ARGV)), ${isRaised}\n${text}`;
}

function textOf(text: string): Text {
  return { text, sha1: createHash('sha1').update(text).digest('hex') };
}
