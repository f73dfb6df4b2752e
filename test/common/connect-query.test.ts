import { describe, expect, test } from '@jest/globals';
import { connectUrl, parseConnectQuery } from '../../common/connect-query.js';

describe('parseConnectQuery', () => {
  test('reads what connectUrl writes', () => {
    const position = { incarnation: 2, epoch: 17 };
    const query = { clientId: 'é {x}&y=1', lastEventId: '1-2', sentUnder: undefined };
    const url = new URL(connectUrl('http://edge-1:7000', query, position));
    expect(url.origin).toBe('http://edge-1:7000');
    expect(parseConnectQuery(url.pathname + url.search)).toEqual({
      ...query,
      sentUnder: position,
    });
  });

  test('ignores parameters that it does not know', () => {
    expect(parseConnectQuery('/connect?a=1&clientId=x&b')).toEqual({
      clientId: 'x',
      lastEventId: '',
      sentUnder: undefined,
    });
  });

  test.each([
    ['/connect', 'CLIENT_ID_INVALID'],
    ['/connect?', 'CLIENT_ID_INVALID'],
    ['/connect?clientId', 'CLIENT_ID_INVALID'],
    ['/connect?clientId=a&clientId=b', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&epoch=', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&epoch=1-2-3', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&epoch=-1-2', 'REQUEST_MALFORMED'],
  ])('refuses %s with %s', (target, code) => {
    expect(parseConnectQuery(target)).toMatchObject({ code });
  });
});
