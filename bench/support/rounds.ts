/**
 * Runs each of the named candidates once per round, in turn: noise from the rest of the machine
 * affects all of them alike.
 * @returns the results of each candidate, one per round
 */
export async function runInTurn<Name extends string, Result>(
  rounds: number,
  names: readonly Name[],
  run: (name: Name) => Promise<Result>,
): Promise<Record<Name, Result[]>> {
  // `Object.fromEntries` loses the names in its type.
  const results = Object.fromEntries(names.map((name) => [name, []])) as unknown as Record<
    Name,
    Result[]
  >;
  for (let round = 0; round < rounds; round++) {
    for (const name of names) results[name].push(await run(name));
  }
  return results;
}
