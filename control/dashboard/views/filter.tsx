/** A filter of connected clients. It stands in the URL, with the names of the operator API. */
import type { FilterFields } from '../../operator/clients/filter.js';
import type { Route } from '../live.js';

const TEXTS = [
  ['user', 'User', 'alice'],
  ['selector', 'Labels', 'app=ios, region in (eu, us)'],
  ['edge', 'Edge', 'edge-1'],
  ['protocol', 'Protocol', 'sse'],
  ['shard', 'Shard', '0'],
] as const;

const AGES = [
  ['60000', 'at least 1 minute'],
  ['600000', 'at least 10 minutes'],
  ['3600000', 'at least 1 hour'],
  ['86400000', 'at least 1 day'],
  ['604800000', 'at least 1 week'],
] as const;

const NAMES = [...TEXTS.map(([name]) => name), 'olderThanMs'];

/** The options of a view that select clients, as a query of the API. */
export function filterQuery(options: URLSearchParams): URLSearchParams {
  return new URLSearchParams([...options].filter(([name]) => NAMES.includes(name)));
}

/** The same as a body. Text that is not a number stays, so that control says what is wrong. */
export function filterBody(options: URLSearchParams): FilterFields {
  const isNumber = (name: string, value: string) =>
    (name === 'shard' || name === 'olderThanMs') && /^\d+$/.test(value);
  return Object.fromEntries(
    [...filterQuery(options)].map(([name, value]) => [
      name,
      isNumber(name, value) ? Number(value) : value,
    ]),
  ) as FilterFields;
}

export function filterText(filter: FilterFields): string {
  const fields = Object.entries(filter).map(([name, value]) => `${name}=${value}`);
  return fields.length > 0 ? fields.join(', ') : 'all clients';
}

/** Shows the first page of what it selects; the other options of the view stay. */
export function FilterForm({ route: { view, query } }: { route: Route }) {
  const onSubmit = (event: SubmitEvent) => {
    event.preventDefault();
    const fields = [...new FormData(event.currentTarget as HTMLFormElement)] as [string, string][];
    const kept = [...query].filter(([name]) => name !== 'page' && !NAMES.includes(name));
    const given = fields
      .map(([name, value]) => [name, value.trim()])
      .filter(([, value]) => value !== '');
    location.hash = `#/${view}?${new URLSearchParams([...kept, ...given])}`;
  };
  const age = query.get('olderThanMs') ?? '';
  return (
    <form class="filter" key={String(query)} onSubmit={onSubmit}>
      {TEXTS.map(([name, label, example]) => (
        <label key={name}>
          {label}
          <input
            name={name}
            defaultValue={query.get(name) ?? ''}
            placeholder={example}
            autocomplete="off"
            spellcheck={false}
          />
        </label>
      ))}
      <label>
        Connected for
        <select name="olderThanMs">
          <option value="">any time</option>
          {AGES.map(([ms, text]) => (
            <option key={ms} value={ms} selected={ms === age}>
              {text}
            </option>
          ))}
          {age !== '' && !AGES.some(([ms]) => ms === age) && (
            <option value={age} selected>
              at least {age} ms
            </option>
          )}
        </select>
      </label>
      <button type="submit">Find</button>
    </form>
  );
}
