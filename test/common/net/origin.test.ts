import { describe, expect, test } from '@jest/globals';
import fc from 'fast-check';
import { AllowedOrigins, isSameHost, originProblem } from '../../../common/net/origin.js';

describe('isSameHost', () => {
  test.each([
    ['https://push.example', 'push.example'],
    ['https://push.example', 'push.example:443'],
    ['https://push.example:443', 'push.example'],
    ['https://push.example:0443', 'push.example:'],
    ['http://push.example', 'push.example:80'],
    ['HTTPS://Push.Example', 'pUSH.eXAMPLE:443'],
    ['https://push.example.', 'push.example.'],
    ['ws://10.0.0.1', '10.0.0.1:80'],
    ['wss://push.example', 'push.example'],
    ['ws://push.example:8080', 'push.example:8080'],
    ['http://[::1]:7000', '[0:0:0:0:0:0:0:1]:7000'],
    ['http://[2001:DB8::1]', '[2001:db8::1]:80'],
    ['http://foo_bar', 'foo_bar'],
  ])('%s is of Host: %s', (origin, host) => {
    expect(isSameHost(origin, host)).toBe(true);
  });

  test.each([
    ['https://push.example', 'push.example:80'],
    ['http://push.example', 'push.example:443'],
    ['https://push.example', 'push.example:8443'],
    ['https://push.example', 'push.example.'],
    ['https://push.example', 'evil.example'],
    ['https://push.example', undefined],
    ['https://push.example', ''],
    ['https://push.example/', 'push.example'],
    ['https://u@push.example', 'push.example'],
    ['https://push.example:65536', 'push.example:65536'],
    ['https://push.example:0', 'push.example:0'],
    ['file://', ''],
    ['app://push.example', 'push.example'],
    ['null', 'null'],
    ['push.example', 'push.example'],
    // The Kelvin sign is not a K, and a dotless i is not an i.
    ['https://push.example\u212a', 'push.examplek'],
    ['https://push.examp\xe9', 'push.examp\xe9'],
  ])('%s is not of Host: %s', (origin, host) => {
    expect(isSameHost(origin, host)).toBe(false);
  });
});

describe('AllowedOrigins', () => {
  const allows = (entries: string[], origin: string, allowsApps = false) => {
    expect(entries.map(originProblem)).toEqual(entries.map(() => undefined));
    return new AllowedOrigins(entries, allowsApps).allows(origin);
  };

  test.each([
    ['https://app.example', 'https://app.example'],
    ['https://app.example:443', 'https://app.example'],
    ['https://app.example', 'https://app.example:443'],
    ['HTTPS://App.Example', 'https://app.example'],
    ['http://[0:0::1]:3000', 'http://[::1]:3000'],
    ['https://bücher.example', 'https://xn--bcher-kva.example'],
    ['capacitor://localhost', 'capacitor://localhost'],
    ['ionic://localhost', 'ionic://LOCALHOST'],
    ['tauri://localhost', 'tauri://localhost'],
    ['app://obsidian.md', 'app://obsidian.md'],
    ['file://', 'file://'],
    ['ws://10.0.0.1', 'ws://10.0.0.1:80'],
    ['chrome-extension://abc', 'chrome-extension://abc'],
    ['null', 'null'],
    ['*', 'https://any.example'],
    ['*', 'no origin'],
    ['https://*.app.example', 'https://a.app.example'],
    ['https://*.app.example', 'https://A.b.App.example:443'],
    ['https://*.app.example:8443', 'https://a.app.example:8443'],
    ['http://*.localhost', 'http://a.localhost'],
  ])('%s allows %s', (entry, origin) => {
    expect(allows([entry], origin)).toBe(true);
    expect(allows(['https://other.example', entry], origin)).toBe(true);
  });

  test.each([
    ['https://app.example', 'http://app.example'],
    ['https://app.example', 'https://app.example:8443'],
    ['https://app.example', 'https://app.example.'],
    ['https://app.example', 'https://app.example.evil.example'],
    ['https://app.example', 'https://app.example/'],
    ['https://app.example', 'https://aрp.example'],
    ['capacitor://localhost', 'ionic://localhost'],
    ['null', 'NULL'],
    ['https://*.app.example', 'https://app.example'],
    ['https://*.app.example', 'https://evilapp.example'],
    ['https://*.app.example', 'https://a.app.example.evil.example'],
    ['https://*.app.example', 'http://a.app.example'],
    ['https://*.app.example', 'https://a.app.example:8443'],
    ['https://*.app.example', 'https://.app.example'],
  ])('%s does not allow %s', (entry, origin) => {
    expect(allows([entry], origin)).toBe(false);
  });

  test('allows clients that are not browsers only if that is set, and never a page for it', () => {
    const apps = ['file://', 'ws://esp32', 'app://x', 'localhost', '', 'http://10.0.0.1/', 'a b'];
    for (const origin of apps) {
      expect([origin, allows([], origin)]).toEqual([origin, false]);
      expect([origin, allows([], origin, true)]).toEqual([origin, true]);
    }
    for (const page of [
      'https://evil.example',
      'HTTP://evil.example:1',
      'null',
      'http://é.example',
    ]) {
      expect([page, allows([], page, true)]).toEqual([page, false]);
    }
  });

  test('answers for any text', () => {
    const origins = new AllowedOrigins(['https://*.app.example', 'app://x'], false);
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (text) => {
        for (const origin of [text, `https://${text}`, `https://a.example:${text}`]) {
          expect(typeof origins.allows(origin)).toBe('boolean');
          expect(typeof isSameHost(origin, text)).toBe('boolean');
        }
      }),
    );
  });
});

test.each([
  ['', 'comma'],
  ['app.example', 'no scheme'],
  ['localhost:3000', 'no scheme'],
  ['//app.example', 'no scheme'],
  ['https://app.example/', 'path'],
  ['https://app.example?x', 'path'],
  ['https://app.example/*', 'path'],
  ['https://u:p@app.example', 'user name'],
  ['https://', 'not an origin'],
  ['https://a b.example', 'not an origin'],
  ['https://app.example:', undefined],
  ['https://app.example:0', '1 to 65535'],
  ['https://app.example:65535', undefined],
  ['https://app.example:65536', '1 to 65535'],
  ['https://app.example:8o', 'not an origin'],
  ['https://1.2.3.4.5', 'not an origin'],
  ['https://[::1', 'not an origin'],
  ['https://*', 'subdomains only'],
  ['https://a*.app.example', 'subdomains only'],
  ['https://*.*.example', 'subdomains only'],
  ['http://localhost:*', 'subdomains only'],
  ['*.app.example', 'no scheme'],
  ['https://*.1.2.3.4', 'domain name'],
  ['https://*.', 'not an origin'],
  ['app://*.x', 'domain name'],
])('the problem of the entry %j names %j', (entry, reason) => {
  if (reason === undefined) expect(originProblem(entry)).toBeUndefined();
  else expect(originProblem(entry)).toContain(reason);
});
