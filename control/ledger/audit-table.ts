/**
 * The newest audit of each shard, as numbers in one typed array: each audit is replaced every ten
 * seconds, and 16,384 objects that live for so long fill the old generation with garbage. Pure.
 */
import type { ShardAudit } from '../../common/cluster/ledger/audit.js';
import { CAUSES } from '../../common/cluster/ledger/left.js';

export interface Audited extends ShardAudit {
  /** In ms of the monotonic clock. */
  readonly atMs: number;
  /** When what waits was counted last; -Infinity: never. */
  readonly countedAtMs: number;
}

const FIELDS = [
  'accepted',
  ...CAUSES,
  'waiting',
  'missing',
  'lost',
  'base',
  'sinceMs',
  'inboxes',
  'atMs',
  'countedAtMs',
] as const satisfies readonly (keyof Audited)[];

export type AuditField = (typeof FIELDS)[number];

const WIDTH = FIELDS.length;
const COLUMN = Object.fromEntries(FIELDS.map((name, i) => [name, i])) as Record<AuditField, number>;

export class AuditTable {
  /** By shard, and by field in it. NaN: the shard was not audited, or the field is undefined. */
  readonly #values: Float64Array;

  constructor(readonly shardCount: number) {
    this.#values = new Float64Array(shardCount * WIDTH).fill(Number.NaN);
  }

  get(shard: number): Audited | undefined {
    const of = (name: AuditField) => this.valueOf(shard, name);
    if (Number.isNaN(of('atMs'))) return undefined;
    const waiting = of('waiting');
    return {
      accepted: of('accepted'),
      confirmed: of('confirmed'),
      expired: of('expired'),
      evicted: of('evicted'),
      collapsed: of('collapsed'),
      skipped: of('skipped'),
      waiting: Number.isNaN(waiting) ? undefined : waiting,
      missing: of('missing'),
      lost: of('lost'),
      base: of('base'),
      sinceMs: of('sinceMs'),
      inboxes: of('inboxes'),
      atMs: of('atMs'),
      countedAtMs: of('countedAtMs'),
    };
  }

  set(shard: number, audit: Audited): void {
    for (let i = 0; i < WIDTH; i++) {
      this.#values[shard * WIDTH + i] = audit[FIELDS[i]!] ?? Number.NaN;
    }
  }

  /** NaN: the shard was not audited, or the field is undefined. */
  valueOf(shard: number, name: AuditField): number {
    return this.#values[shard * WIDTH + COLUMN[name]]!;
  }

  /** The field of all shards that were audited. */
  *column(name: AuditField): Iterable<number> {
    for (let shard = 0; shard < this.shardCount; shard++) {
      const value = this.valueOf(shard, name);
      if (!Number.isNaN(value)) yield value;
    }
  }
}
