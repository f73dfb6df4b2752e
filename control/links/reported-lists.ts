/**
 * The lists in the reports of one session. A report lives until the next one, two seconds: long
 * enough that V8 moves it to the old generation, where the lists of 1,000 edges would be a megabyte
 * of garbage a second. So each report overwrites the lists of the one before.
 */
import type { MemoryPart, ShardLoads } from '../../proto/gen/longline/v1/edge_session.js';
import type { ShardReport } from '../placement/load-report.js';

type Mutable<Item> = { -readonly [Name in keyof Item]: Item[Name] };

const NONE: readonly number[] = [];

export class ReportedLists {
  readonly #shards: Mutable<ShardReport>[] = [];
  readonly #memory: Mutable<MemoryPart>[] = [];

  /**
   * Missing entries of shorter columns become NaN, which `findReportProblem` rejects.
   * @returns a list that is valid until the next call
   */
  readShards(loads: ShardLoads | undefined): readonly ShardReport[] {
    const { shards = NONE, connections = NONE, messagesPer1000Seconds: rates = NONE } = loads ?? {};
    const length = Math.max(shards.length, connections.length, rates.length);
    const kept = this.#shards;
    for (let i = 0; i < length; i++) {
      if (i === kept.length) kept.push({ shard: 0, connections: 0, messagesPerSecond: 0 });
      const one = kept[i]!;
      one.shard = shards[i] ?? Number.NaN;
      one.connections = connections[i] ?? Number.NaN;
      one.messagesPerSecond = (rates[i] ?? Number.NaN) / 1_000;
    }
    kept.length = length;
    return kept;
  }

  /** @returns a list that is valid until the next call */
  readMemory(parts: readonly MemoryPart[]): readonly MemoryPart[] {
    const kept = this.#memory;
    for (const [i, { name, bytes, bytesAtStart }] of parts.entries()) {
      if (i === kept.length) kept.push({ name, bytes: 0, bytesAtStart: 0 });
      const one = kept[i]!;
      // The names are the same in each report, but other strings.
      if (one.name !== name) one.name = name;
      one.bytes = bytes;
      one.bytesAtStart = bytesAtStart;
    }
    kept.length = parts.length;
    return kept;
  }
}
