/** Divides what is to be done for shards among messages and scripts. Pure. */

/** Clients of one shard. */
export interface ClientsOfShard {
  readonly shard: number;
  readonly clientIds: readonly string[];
}

/** Packs items that follow one another: up to `weightMax` and `lengthMax` of them, or one item. */
export function packed<Item>(
  items: readonly Item[],
  weightOf: (item: Item) => number,
  weightMax: number,
  lengthMax = Number.POSITIVE_INFINITY,
): Item[][] {
  const packs: Item[][] = [];
  let weight = Number.POSITIVE_INFINITY;
  for (const item of items) {
    const pack = packs.at(-1);
    weight += weightOf(item);
    if (pack !== undefined && pack.length < lengthMax && weight <= weightMax) pack.push(item);
    else {
      packs.push([item]);
      weight = weightOf(item);
    }
  }
  return packs;
}

/** Cuts a shard with more than `max` clients. */
export function slicesOf({ shard, clientIds }: ClientsOfShard, max: number): ClientsOfShard[] {
  return Array.from({ length: Math.ceil(clientIds.length / max) }, (_, i) => ({
    shard,
    clientIds: clientIds.slice(i * max, (i + 1) * max),
  }));
}

export function countOf({ clientIds }: ClientsOfShard): number {
  return clientIds.length;
}
