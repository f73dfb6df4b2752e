/** The commands that call a router. */
import { type Command, Option } from 'commander';
import { acceptLevel, duration, hostPort, optionFromEnv, wholeNumber } from './arguments.js';

const UINT32_MAX = 2 ** 32 - 1;

export function addRouterCommands(program: Command): void {
  addPush(program);
  addGroups(program);

  withRouter(program.command('broadcast'))
    .description('send a payload to the clients that are connected now, and print the counts')
    .argument('<payload>', 'text, or - to read standard input')
    .requiredOption('--rate <count>', 'clients per second', wholeNumber(1, UINT32_MAX))
    .option(
      '--selector <selector>',
      "only clients with these labels, such as 'app=ios,region in (eu)'",
    )
    .addOption(whenSlow(['disconnect', 'drop']))
    .option('--deadline <duration>', 'such as 5m: stop then, with the counts so far', duration)
    .option('--content-type <type>', 'content type of the payload, such as application/json')
    .action(async (payload, options) => {
      const { broadcast } = await import('./router/broadcast.js');
      process.exitCode = await broadcast(payload, options);
    });

  withRouter(program.command('presence'))
    .description('show where a client or a user is connected')
    .argument('<name>', 'a clientId, or a user with --user')
    .option('--user', 'all devices of the user of this name', false)
    .action(async (name, options) => {
      const { presence } = await import('./router/clients.js');
      process.exitCode = await presence(name, options);
    });

  withRouter(program.command('watch-presence'))
    .description('show who is connected, and every change, until the router ends the watch')
    .argument('[names...]', 'clientIds, and users for all of their devices')
    .option('--group <group>', 'instead of names: the members of this group')
    .action(async (names, options) => {
      const { watchPresence } = await import('./router/watch-presence.js');
      await watchPresence(names, options);
    });

  withRouter(program.command('disconnect'))
    .description('close the connections of a client or a user')
    .argument('<name>', 'a clientId, or a user with --user')
    .option('--user', 'all devices of the user of this name', false)
    .action(async (name, options) => {
      const { disconnect } = await import('./router/clients.js');
      process.exitCode = await disconnect(name, options);
    });

  withRouter(program.command('dead-letters'))
    .description('show the newest events that a webhook has not accepted')
    .argument('<webhook>', 'name of the webhook')
    .option('--limit <count>', 'maximum number of events', wholeNumber(1, 1_000), 100)
    .action(async (webhook, options) => {
      const { deadLetters } = await import('./router/dead-letters.js');
      process.exitCode = await deadLetters(webhook, options);
    });
}

function addPush(program: Command): void {
  const push = withRouter(program.command('push'))
    .description('push a payload to a client or a user and print the verdicts')
    .argument('<name>', 'a clientId, or a user with --user')
    .argument('<payload>', 'text, or - to read standard input')
    .option('--user', 'push to all devices of the user of this name', false)
    .option('--trace', 'print the steps of the push, in ms after the request', false);
  withPush(push).action(async (name, payload, options) => {
    const { push, pushToUser } = await import('./router/push.js');
    process.exitCode = await (options.user ? pushToUser : push)(name, payload, options);
  });
}

function addGroups(program: Command): void {
  const groups = program.command('groups').description('list, change and push to groups');

  withRouter(groups.command('list'))
    .description('list all groups, or those of a member')
    .option('--member <name>', 'a clientId or a user')
    .action(async (options) => (await import('./router/groups.js')).list(options));

  withRouter(groups.command('members'))
    .description('list the members of a group')
    .argument('<group>', 'name of the group')
    .action(async (group, options) => (await import('./router/groups.js')).members(group, options));

  for (const change of ['join', 'leave'] as const) {
    withRouter(groups.command(change))
      .description(change === 'join' ? 'add members to a group' : 'remove members from a group')
      .argument('<group>', 'name of the group')
      .argument('<members...>', 'clientIds and users, or - to read them from standard input')
      .action(async (group, names, options) => {
        const { change: run } = await import('./router/groups.js');
        process.exitCode = await run(change, group, names, options);
      });
  }

  withRouter(groups.command('delete'))
    .description('remove all members from a group')
    .argument('<group>', 'name of the group')
    .action(async (group, options) => (await import('./router/groups.js')).remove(group, options));

  const push = withRouter(groups.command('push'))
    .description('push a payload to all members of a group and print the counts')
    .argument('<group>', 'name of the group')
    .argument('<payload>', 'text, or - to read standard input')
    .option('--rate <count>', 'clients per second', wholeNumber(1, UINT32_MAX));
  withPush(push).action(async (group, payload, options) => {
    const { push } = await import('./router/groups.js');
    process.exitCode = await push(group, payload, options);
  });
}

/** Adds the options of a push. */
function withPush(command: Command): Command {
  return command
    .option('--wait <ms>', 'maximum time to wait for the verdict', wholeNumber(1, 60_000))
    .addOption(
      new Option('--wait-for <event>', 'event to wait for; the exit status is 0 if it happened')
        .choices(['written', 'stored', 'acked'])
        .default('written'),
    )
    .option(
      '--accept-level <level>',
      'accepted, fsynced or replicated:<n>; by default as the router is configured',
      acceptLevel,
    )
    .option(
      '--ttl <ms>',
      'time that the push is stored for a client that is offline; 0: live only',
      wholeNumber(0, UINT32_MAX),
    )
    .option('--content-type <type>', 'content type of the payload, such as application/json')
    .option('--idempotency-key <key>', 'pushes with the same key are stored once')
    .option('--collapse-key <key>', 'replaces the stored push with the same key')
    .option('--append-to <key>', 'the payload is the next part of this growing message')
    .option('--append-end', 'the payload ends the message of --append-to', false)
    .option(
      '--notify-unread-after <ms>',
      'write the event push.unread if the client has not confirmed it by then',
      wholeNumber(1, UINT32_MAX),
    )
    .addOption(whenSlow(['disconnect', 'drop', 'keep']));
}

function whenSlow(choices: readonly string[]): Option {
  return new Option(
    '--when-slow <action>',
    'if a client does not read: disconnect it (the default), drop a live-only push, or keep a durable one for later',
  ).choices(choices);
}

/** Adds the options of every command that calls a router. */
function withRouter(command: Command): Command {
  return command
    .addOption(
      optionFromEnv(
        new Option('--router <host:port>', 'gRPC address of a router')
          .default('localhost:7101')
          .argParser(hostPort),
        'LONGLINE_ROUTER',
      ),
    )
    .option('--token <token>', 'token for the router; prefer LONGLINE_TOKEN')
    .option('--ca <file>', "CA of the router's certificate (PEM); enables TLS")
    .option('--cert <file>', 'client certificate (PEM)')
    .option('--key <file>', 'key of the client certificate (PEM)')
    .option('--json', 'print JSON');
}
