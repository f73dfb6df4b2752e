/** ClientIds of tabs, with fake storages and locks of a browser. */
import { afterEach, expect, test } from '@jest/globals';
import { tabClientId } from '../../client/tab-client-id.js';

const FORM = /^alice\/[0-9a-f]{16}\.[0-9a-f]{16}$/;
const NAMES = ['document', 'localStorage', 'sessionStorage', 'navigator'] as const;
const originals = NAMES.map((name) => Object.getOwnPropertyDescriptor(globalThis, name));

afterEach(() => {
  for (const [i, name] of NAMES.entries()) {
    const original = originals[i];
    if (original === undefined) delete (globalThis as Record<string, unknown>)[name];
    else Object.defineProperty(globalThis, name, original);
  }
});

function storage(items: Record<string, string> = {}) {
  return {
    items,
    getItem: (key: string) => items[key] ?? null,
    setItem: (key: string, value: string) => {
      items[key] = value;
    },
  };
}

/** Locks that the tabs of a browser share. */
function newBrowser() {
  const held = new Set<string>();
  const locks = {
    request: async (name: string, _: object, hold: (lock: unknown) => unknown) => {
      if (held.has(name)) return hold(null);
      held.add(name);
      return hold({ name });
    },
  };
  return { held, locks, localStorage: storage() };
}

function enter(page: Record<string, unknown>): void {
  for (const name of NAMES) {
    Object.defineProperty(globalThis, name, { value: page[name], configurable: true });
  }
}

function openTab({ locks, localStorage }: ReturnType<typeof newBrowser>, session = storage()) {
  enter({ document: {}, localStorage, sessionStorage: session, navigator: { locks } });
  return session;
}

test('a tab keeps its clientId when it is reloaded, another tab of the browser has another one', async () => {
  const browser = newBrowser();
  const session = openTab(browser);
  const first = await tabClientId('alice');
  expect(first).toMatch(FORM);
  browser.held.clear();
  expect(await tabClientId('alice')).toBe(first);
  openTab(browser, storage({ ...session.items }));
  const duplicated = await tabClientId('alice');
  openTab(browser);
  const third = await tabClientId('alice');
  expect(new Set([first, duplicated, third]).size).toBe(3);
  for (const clientId of [duplicated, third]) {
    expect(clientId.slice(0, clientId.indexOf('.'))).toBe(first.slice(0, first.indexOf('.')));
  }
});

test('without a page, or where storage is blocked, it is new with each call', async () => {
  expect(await tabClientId('alice')).toMatch(FORM);
  const blocked = () => {
    throw new Error('SecurityError');
  };
  enter({ document: {}, navigator: {} });
  Object.defineProperty(globalThis, 'localStorage', { get: blocked, configurable: true });
  Object.defineProperty(globalThis, 'sessionStorage', { get: blocked, configurable: true });
  const [one, other] = [await tabClientId('alice'), await tabClientId('alice')];
  expect(one).toMatch(FORM);
  expect(one).not.toBe(other);
});
