/** Audits all shards, over and over, while this control leads. */
import { auditShards } from '../../common/cluster/ledger/audit.js';
import { ledgerKey } from '../../common/cluster/ledger/left.js';
import type { ShardNames } from '../../common/cluster/shard-names.js';
import type { RedisLink } from '../../common/redis/redis-link.js';
import { ITEMS_MAX, type ScriptLink, scopeOf } from '../../common/redis/script.js';
import type { Ledger } from './ledger.js';

/** To be called this often. */
export const AUDIT_STEP_MS = 1_000;
/** Each shard is audited once in this many steps. */
const AUDIT_STEPS = 10;

/**
 * Scripts in progress. Pushes wait for each: those of a Redis Cluster have one shard each, and
 * several masters.
 */
const CLUSTER_SCRIPTS = 16;

export interface AuditorOptions {
  readonly link: ScriptLink & Pick<RedisLink, 'isCluster'>;
  readonly names: ShardNames;
}

export class Auditor {
  #step = 0;
  #isStepping = false;

  constructor(readonly options: AuditorOptions) {}

  /** Audits a part of the shards. Never rejects. */
  async step(ledger: Ledger): Promise<void> {
    ledger.tick(performance.now());
    if (this.#isStepping) return;
    this.#isStepping = true;
    const part = this.#step++ % AUDIT_STEPS;
    const scripts = this.#scriptsOf(part).values();
    const run = async () => {
      for (const shards of scripts) await this.#audit(ledger, shards);
    };
    const atOnce = this.options.link.isCluster ? CLUSTER_SCRIPTS : 1;
    await Promise.all(Array.from({ length: atOnce }, run));
    this.#isStepping = false;
  }

  /** The shards for each call of the script. */
  #scriptsOf(part: number): number[][] {
    const { link, names } = this.options;
    const scripts: number[][] = [];
    const open = new Map<string, number[]>();
    for (let shard = part; shard < names.shardCount; shard += AUDIT_STEPS) {
      const scope = scopeOf(link, names.channelOf(shard));
      const script = open.get(scope);
      if (script !== undefined && script.length < ITEMS_MAX) {
        script.push(shard);
        continue;
      }
      scripts.push([shard]);
      open.set(scope, scripts.at(-1)!);
    }
    return scripts;
  }

  /** Pushes that wait are served between two audits of shards from which much is to be removed. */
  async #audit(ledger: Ledger, shards: readonly number[]): Promise<void> {
    let left = shards;
    while (left.length > 0) left = await this.#auditOnce(ledger, left);
  }

  /** Returns the shards that are to be audited again. */
  async #auditOnce(ledger: Ledger, shards: readonly number[]): Promise<number[]> {
    const { link, names } = this.options;
    const sentAtMs = performance.now();
    const starts = shards.map((shard) => ledger.begin(shard, sentAtMs));
    const channels = shards.map((shard) => names.channelOf(shard));
    const wereEmpty = shards.map((shard) => ledger.wasEmpty(shard));
    const areCounted = shards.map((shard) => ledger.isCountDue(shard, sentAtMs));
    const isMixed = ledger.isMixed(sentAtMs);
    const outcomes = await auditShards(link, channels, wereEmpty, areCounted, isMixed);
    const again: number[] = [];
    for (const [i, outcome] of outcomes.entries()) {
      if (outcome.type !== 'done') continue;
      if (!outcome.reply.isSwept) again.push(shards[i]!);
      const lost = ledger.onAudit(shards[i]!, outcome.reply, starts[i]!, performance.now());
      if (lost > 0) void link.execute('hincrby', [ledgerKey(channels[i]!), 'lost', lost]);
    }
    return again;
  }
}
