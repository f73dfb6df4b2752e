/** Output of a bench: the result on standard output, progress on standard error. */

/**
 * Prints the result as one line of JSON, or for people.
 * @param print prints it for people; without it, the object itself is printed
 */
export function report(isJson: boolean, result: object, print = () => console.log(result)): void {
  if (isJson) console.log(JSON.stringify(result));
  else print();
}

export function progress(line: string): void {
  process.stderr.write(`${line}\n`);
}
