/** The commands that ask control, or tell it something. */
import type { Command } from 'commander';
import { duration, wholeNumber, withControl } from './arguments.js';

const ORDERS = {
  pause: 'let no move begin until resume; what is under way ends',
  resume: 'take a pause back',
  abort: 'take back what can be taken back, and forget what waits',
  'confirm-lost-edges': 'after most edges vanished at once: believe that they are gone',
} as const;

export function addControlCommands(program: Command): void {
  addQuestions(program);
  addOrders(program);
}

function addQuestions(program: Command): void {
  withControl(program.command('status'))
    .description('show the edges and the state of the cluster')
    .option('--watch', 'again and again, until Ctrl-C')
    .action(async (options) => (await import('./status.js')).status(options));

  withControl(program.command('memory'))
    .description('show where the memory of the edges is, and what a connection costs')
    .argument('[edgeId]')
    .action(async (edgeId, options) => (await import('./memory.js')).memory(edgeId, options));

  withControl(program.command('explain'))
    .description('show where a client belongs and where it is really connected')
    .argument('<clientId>')
    .action(async (clientId, options) => (await import('./explain.js')).explain(clientId, options));

  withControl(program.command('events'))
    .description('show what has happened to edges and shards')
    .option('--follow', 'and what happens, until Ctrl-C')
    .option('--after <id>', 'only what came after this event', wholeNumber(0, 1e15 - 1), 0)
    .action(async (options) => (await import('./events.js')).events(options));
}

function addOrders(program: Command): void {
  withReason(program.command('rebalance'))
    .description('move shards until the load is even, exactly as the plan that is shown')
    .option('--dry-run', 'show the plan, move nothing')
    .action(async (options) => (await import('./rebalance.js')).rebalance(options));

  withReason(program.command('drain'))
    .description('send the clients and shards of an edge elsewhere, until it is empty')
    .argument('<edgeId>')
    .option('--rate <count>', 'clients told to go each second at most', wholeNumber(1, 1_000_000))
    .option('--deadline <duration>', 'such as 5m: when it closes whoever is left', duration)
    .option('--force', 'even if no other edge could take its shards')
    .option('--no-wait', 'do not stay until it is empty')
    .action(async (edgeId, options) => {
      process.exitCode = await (await import('./drain.js')).drain(edgeId, options);
    });

  withReason(program.command('cordon'))
    .description('let an edge keep its shards and get no more')
    .argument('<edgeId>')
    .option('--force', 'even if no other edge could be given shards')
    .action(async (edgeId, options) => (await import('./operations.js')).cordon(edgeId, options));

  withReason(program.command('undrain'))
    .description('take a drain or a cordon back')
    .argument('<edgeId>')
    .action(async (edgeId, options) => (await import('./operations.js')).undrain(edgeId, options));

  for (const [order, description] of Object.entries(ORDERS)) {
    withReason(program.command(order))
      .description(description)
      .action(async (options) =>
        (await import('./operations.js')).tell(order as keyof typeof ORDERS, options),
      );
  }
}

function withReason(command: Command): Command {
  return withControl(command).option('--reason <text>', 'why, for the event log');
}
