/** The commands about many clients: lists, disconnects, blocks and revocations. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import { duration, wholeNumber, withControl, withReason } from './arguments.js';

export function addClientCommands(program: Command): void {
  addLists(program);
  addDisconnects(program);
  addBlocks(program);
  addRevocations(program);
}

function addLists(program: Command): void {
  withFilter(withControl(program.command('clients')))
    .description('list the connected clients that match all of the options')
    .option('--limit <count>', 'most clients to list', wholeNumber(1, 1_000_000), 100)
    .action(async (options) => (await import('./clients/lists.js')).clients(options));

  withFilter(withControl(program.command('slow')))
    .description('list the slowest clients, the worst first')
    .addOption(
      new Option(
        '--by <measure>',
        'what they have most of: bytes waiting, unconfirmed or dropped pushes',
      )
        .choices(['bytes', 'unconfirmed', 'drops'])
        .default('bytes'),
    )
    .option('--limit <count>', 'most clients to list', wholeNumber(1, 1_000), 20)
    .action(async (options) => (await import('./clients/lists.js')).slow(options));

  withControl(program.command('slow-pushes'))
    .description('list the slowest pushes of the last minute, and what they waited for')
    .option('--limit <count>', 'most pushes to list', wholeNumber(1, 1_000), 20)
    .option('--trace', 'print the flight records that there are', false)
    .action(async (options) => (await import('./clients/slow-pushes.js')).slowPushes(options));

  withControl(program.command('client-pushes'))
    .description('list the newest pushes to a client, and their verdicts')
    .argument('<clientId>')
    .option('--trace', 'print the flight records that there are', false)
    .action(async (clientId, options) =>
      (await import('./clients/client-pushes.js')).clientPushes(clientId, options),
    );
}

function addDisconnects(program: Command): void {
  withFilter(withReason(program.command('disconnect-clients')))
    .description('close the connections of the clients that match all of the options, at a rate')
    .requiredOption('--rate <count>', 'clients per second', wholeNumber(1, 1_000_000))
    .option('--all', 'every client; instead of the options that choose some')
    .option('--no-wait', 'do not wait until it is finished')
    .action(async (options) => {
      const { disconnectClients } = await import('./clients/disconnects.js');
      process.exitCode = await disconnectClients(options);
    });

  withControl(program.command('disconnects'))
    .description('show the progress of disconnect-clients, and of those before')
    .action(async (options) => (await import('./clients/disconnects.js')).disconnects(options));

  withReason(program.command('cancel-disconnect'))
    .description('end the disconnect-clients in progress')
    .action(async (options) =>
      (await import('./clients/disconnects.js')).cancelDisconnect(options),
    );
}

function addBlocks(program: Command): void {
  withReason(program.command('block'))
    .description('keep a client, or all devices of a user, from connecting')
    .argument('<name>', 'a clientId or a user')
    .requiredOption('--for <duration>', 'such as 90s, 30m or 24h', duration)
    .action(async (name, options) => (await import('./clients/blocks.js')).block(name, options));

  withReason(program.command('unblock'))
    .description('let a client or a user connect again')
    .argument('<name>', 'a clientId or a user')
    .action(async (name, options) => {
      process.exitCode = await (await import('./clients/blocks.js')).unblock(name, options);
    });

  withControl(program.command('blocks'))
    .description('list the clients and users that may not connect')
    .action(async (options) => (await import('./clients/blocks.js')).blocks(options));
}

function addRevocations(program: Command): void {
  withReason(program.command('revoke'))
    .description('reject the tokens of a user, or of all, that were issued before a time')
    .argument('[user]', 'a user; --all for all users')
    .option('--before <time>', 'such as 2026-11-28T17:00:00Z; now by default', time)
    .option('--all', 'the tokens of all users')
    .action(async (user, options, command) => {
      requireOne(user, options, command);
      await (await import('./clients/revocations.js')).revoke({ ...options, user });
    });

  withReason(program.command('unrevoke'))
    .description('accept revoked tokens again until they expire')
    .argument('[user]', 'a user; --all for the revocation of all users')
    .option('--all', 'the revocation of all users; those of single users stay')
    .action(async (user, options, command) => {
      requireOne(user, options, command);
      const { unrevoke } = await import('./clients/revocations.js');
      process.exitCode = await unrevoke({ ...options, user });
    });

  withControl(program.command('revocations'))
    .description('list the users whose tokens issued before a time are revoked')
    .action(async (options) => (await import('./clients/revocations.js')).revocations(options));
}

/** A forgotten name must not stand for all users. */
function requireOne(user: string | undefined, { all }: { all?: boolean }, command: Command): void {
  if ((user === undefined) === (all === true)) return;
  command.error('error: name a user, or --all for all users, and not both');
}

function withFilter(command: Command): Command {
  return command
    .option('--edge <edgeId>', 'connected to this edge')
    .option('--shard <number>', 'of this shard', wholeNumber(0, 65_535))
    .option('--client <clientId>', 'only this client')
    .option('--user <user>', 'devices of this user')
    .option('--selector <selector>', "with these labels, such as 'app=ios,region in (eu)'")
    .option('--protocol <name>', 'over this protocol, such as sse')
    .option('--older-than <duration>', 'connected for at least so long, such as 24h', duration);
}

function time(text: string): number {
  const atMs = Date.parse(text);
  if (atMs > 0) return atMs;
  throw new InvalidArgumentError('expected a time such as 2026-11-28T17:00:00Z');
}
