type Cell = string | number;

/**
 * A table without rules or colours, so that people and `awk` can read it. Columns are separated by
 * two spaces; a column with a number is right-aligned.
 */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const lines = [head, ...rows].map((cells) => cells.map(String));
  const widths = head.map((_, column) => Math.max(...lines.map((cells) => cells[column]!.length)));
  const isRight = head.map((_, column) => rows.some((row) => typeof row[column] === 'number'));
  const pad = (cell: string, column: number) =>
    isRight[column] ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!);
  return lines.map((cells) => cells.map(pad).join('  ').replace(/ +$/, '')).join('\n');
}
