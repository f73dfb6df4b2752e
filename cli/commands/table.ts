import Table from 'cli-table3';

type Cell = string | number;

/** A table without rules or colours, to be read by people and cut by `awk` alike. Numbers are right-aligned. */
export function table(head: readonly string[], rows: readonly (readonly Cell[])[]): string {
  const colAligns = head.map((_, column) =>
    rows.some((row) => typeof row[column] === 'number') ? ('right' as const) : ('left' as const),
  );
  const lines = new Table({
    chars: RULES,
    style: { head: [], border: [], 'padding-left': 0, 'padding-right': 2 },
    colAligns,
  });
  lines.push([...head], ...rows.map((row) => [...row]));
  return lines.toString().replace(/ +$/gm, '');
}

const RULES = Object.fromEntries(
  ['top', 'bottom', 'left', 'right']
    .flatMap((side) => [side, `${side}-mid`, `${side}-left`, `${side}-right`])
    .concat('mid', 'mid-mid', 'middle')
    .map((rule) => [rule, '']),
);
