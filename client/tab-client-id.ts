/**
 * ClientIds of tabs: `user/browser.tab`, so that each tab of a user is a device of its own. The
 * browser's id stays in localStorage, that of the tab in sessionStorage, which outlives a reload.
 * Apart from `connect`, whose size every page pays for.
 */

interface Store {
  getItem(key: string): string | null;
  setItem(key: string, value: string): void;
}

/** Part of the Web Locks API. */
interface TabLocks {
  request(
    name: string,
    options: { ifAvailable: true },
    hold: (lock: unknown) => Promise<void> | undefined,
  ): Promise<unknown>;
}

/** The parts of a page that are needed. */
interface Page {
  readonly document?: unknown;
  readonly localStorage?: Store;
  readonly sessionStorage?: Store;
  readonly navigator?: { readonly locks?: TabLocks };
}

const KEY = 'longline-id';
// The package is compiled without the types of browsers: Node.js and workers use it, too.
const page = globalThis as unknown as Page;

/**
 * Returns the clientId of this tab as a device of the user: the same after a reload, and another
 * one in every other tab. Where there is no page, as in Node.js, it is new with each call.
 * @param user at most 220 bytes, without a slash
 */
export async function tabClientId(user: string): Promise<string> {
  const browser = storedId(() => page.localStorage);
  let tab = storedId(() => page.sessionStorage);
  // A duplicated tab starts with a copy of the other one's storage.
  if (await isTaken(tab)) {
    tab = storedId(() => page.sessionStorage, true);
    await isTaken(tab);
  }
  return `${user}/${browser}.${tab}`;
}

function storedId(storage: () => Store | undefined, isNew = false): string {
  const bytes = crypto.getRandomValues(new Uint8Array(8));
  let id = Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join('');
  // In Node.js storages are a file, or warn.
  if (page.document === undefined) return id;
  try {
    // Even reading the property throws where the user has blocked storage.
    const store = storage();
    if (!isNew) id = store?.getItem(KEY) ?? id;
    store?.setItem(KEY, id);
  } catch {
    // The id lives as long as the page.
  }
  return id;
}

/** Whether another tab holds the id. If not, this one holds it until it is closed or reloaded. */
function isTaken(tab: string): Promise<boolean> {
  const { document, navigator } = page;
  const locks = navigator?.locks;
  if (document === undefined || locks === undefined) return Promise.resolve(false);
  return new Promise((resolve) => {
    const hold = (lock: unknown) => {
      resolve(!lock);
      return lock ? new Promise<void>(() => {}) : undefined;
    };
    locks.request(`longline tab ${tab}`, { ifAvailable: true }, hold).catch(() => resolve(false));
  });
}
