import { describe, expect, test } from '@jest/globals';
import { connectUrl, parseConnectQuery } from '../../../common/wire/connect-query.js';

describe('parseConnectQuery', () => {
  test('reads what connectUrl writes', () => {
    const position = { incarnation: 2, epoch: 17 };
    const query = { clientId: 'é {x}&y=1', lastEventId: '1-2', routedUnder: undefined };
    const url = new URL(connectUrl('http://edge-1:7000', query, position));
    expect(url.origin).toBe('http://edge-1:7000');
    const credentials = { token: undefined, ticket: undefined };
    expect(parseConnectQuery(url.pathname + url.search)).toEqual({
      ...query,
      routedUnder: position,
      credentials,
    });
    const withTicket = new URL(connectUrl('http://edge-1:7000', query, position, 'abc'));
    expect(parseConnectQuery(withTicket.pathname + withTicket.search)).toMatchObject({
      credentials: { ...credentials, ticket: 'abc' },
    });
    const limited = new URL(
      connectUrl('http://edge-1:7000', { ...query, maxBytes: 256 }, position),
    );
    expect(parseConnectQuery(limited.pathname + limited.search)).toMatchObject({ maxBytes: 256 });
    const labels = 'a.b/app=ios,version=5.2';
    const labelled = new URL(connectUrl('http://edge-1:7000', { ...query, labels }, position));
    expect(parseConnectQuery(labelled.pathname + labelled.search)).toMatchObject({ labels });
    const groups = ['room 7', 'a,b', 'é/&x=1'];
    const joining = new URL(connectUrl('http://edge-1:7000', { ...query, groups }, position));
    expect(parseConnectQuery(joining.pathname + joining.search)).toMatchObject({ groups });
  });

  test('reads labels with a plus as a space, as browsers encode it', () => {
    const query = new URLSearchParams({ clientId: 'x', labels: 'app=ios version=5.2' });
    expect(parseConnectQuery(`/connect?${query}`)).toMatchObject({ labels: 'app=ios version=5.2' });
  });

  test('ignores unknown parameters', () => {
    expect(parseConnectQuery('/connect?a=1&clientId=x&b')).toEqual({
      clientId: 'x',
      lastEventId: '',
      routedUnder: undefined,
      credentials: { token: undefined, ticket: undefined },
    });
  });

  test('does not decode a token or a ticket', () => {
    expect(parseConnectQuery('/connect?token=a.b.c&clientId=x&ticket=t%41')).toMatchObject({
      credentials: { token: 'a.b.c', ticket: 't%41' },
    });
  });

  test.each([
    ['/connect', 'CLIENT_ID_INVALID'],
    ['/connect?', 'CLIENT_ID_INVALID'],
    ['/connect?clientId', 'CLIENT_ID_INVALID'],
    ['/connect?clientId=a&clientId=b', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&token=b&token=b', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&ticket=b&ticket=', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&labels=&labels=', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&labels=%ff', 'LABELS_INVALID'],
    ['/connect?clientId=a&groups=a&groups=b', 'REQUEST_MALFORMED'],
    [`/connect?clientId=a&groups=${Array(17).fill('a').join(',')}`, 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&groups=', 'GROUP_INVALID'],
    ['/connect?clientId=a&groups=a,,b', 'GROUP_INVALID'],
    ['/connect?clientId=a&groups=a,%ff', 'GROUP_INVALID'],
    ['/connect?clientId=a&groups=a%0a', 'GROUP_INVALID'],
    ['/connect?clientId=a&groups=*', 'GROUP_INVALID'],
    ['/connect?clientId=a&maxBytes=255', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&maxBytes=2147483648', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&maxBytes=1e6', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&maxBytes=', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&epoch=', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&epoch=1-2-3', 'REQUEST_MALFORMED'],
    ['/connect?clientId=a&epoch=-1-2', 'REQUEST_MALFORMED'],
  ])('rejects %s with %s', (target, code) => {
    expect(parseConnectQuery(target)).toMatchObject({ code });
  });
});
