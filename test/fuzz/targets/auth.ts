/** Fuzz targets: tokens and resume tickets. Only one client was ever issued any. */
import { JwtVerifier } from '../../../common/auth/jwt.js';
import { KeySet } from '../../../common/auth/key-set.js';
import { readKeys } from '../../../common/auth/keys.js';
import { Tickets } from '../../../common/auth/ticket.js';
import { base64url, SECRET, signed } from '../../support/tokens.js';
import { bytesOf, same, type Target } from './target.js';

const NOW_MS = 1_795_000_000_000;
const ENDS_AT_MS = NOW_MS + 3_600_000;
const CLIENT = 'device-1';

const policy = {
  audiences: ['push'],
  issuers: [],
  skewMs: 0,
  labelsClaim: 'labels',
  groupsClaim: 'groups',
};
const claims = { sub: CLIENT, exp: ENDS_AT_MS / 1_000, aud: 'push' };
const good = signed({ alg: 'HS256', typ: 'JWT' }, claims, SECRET);
const [header, body, signature] = good.split('.') as [string, string, string];

const keys = new KeySet(['HS256', 'RS256']);
keys.replace(await readKeys(SECRET));
const verifier = new JwtVerifier(keys, policy, () => NOW_MS);

const tickets = new Tickets([SECRET], 0);
const ticket = tickets.issue(CLIENT, ENDS_AT_MS);

export const authTargets: readonly Target[] = [
  {
    name: 'jwt',
    inputs: bytesOf(
      good,
      signed({ alg: 'HS256' }, { ...claims, exp: 1 }, SECRET),
      signed({ alg: 'HS256' }, { ...claims, aud: 'other' }, SECRET),
      signed({ alg: 'HS256' }, { ...claims, nbf: claims.exp }, SECRET),
      signed(
        { alg: 'HS256', kid: '../../etc/passwd' },
        { ...claims, sub: 'device-2' },
        'x'.repeat(40),
      ),
    ),
    dictionary: bytesOf(
      header,
      body,
      signature,
      '.',
      '..',
      base64url('{"alg":"none"}'),
      base64url('{"alg":"RS256"}'),
      base64url('{"alg":"HS256","crit":["b64"],"b64":false}'),
      base64url('{"sub":"device-2","exp":1e400}'),
      base64url('{"sub":"device-2","exp":9999999999,"aud":"push"}'),
      '=',
      '+/',
    ),
    async run(input) {
      const verified = await verifier.verify(input.toString('latin1'));
      if (typeof verified === 'string') return verified;
      if ('code' in verified) return verified.code;
      same(verified.clientId, CLIENT, 'a forged token for another client was accepted');
      same(verified.expiresAtMs, ENDS_AT_MS, 'a token with a forged expiry was accepted');
      return 'verified';
    },
  },
  {
    name: 'ticket',
    inputs: bytesOf(
      ticket,
      tickets.issue(CLIENT, NOW_MS - 1),
      tickets.issue('device-2', ENDS_AT_MS),
    ),
    dictionary: bytesOf('A', '_', '-', '=', '.', '\0'),
    run(input) {
      const text = input.toString('latin1');
      const checked = tickets.check(text, CLIENT, NOW_MS);
      if (typeof checked === 'string') return checked;
      same(text, ticket, 'a ticket that was not issued was accepted');
      return 'good';
    },
  },
];
