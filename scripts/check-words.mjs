/**
 * Fails when a file uses a private word or a sentence form that the project does not use, so that
 * comments, messages and documents stay in the words of the field (docs/glossary.md). Also when a
 * comment is too wide: the formatter leaves comments as they are.
 *
 *   node scripts/check-words.mjs [file …]
 */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';

/** Where text is read by people. CHANGELOG.md names old words on purpose; this file lists them. */
const TEXTS = /\.(ts|tsx|mjs|js|cc|h|c|proto|md|yaml|yml|tpl|sh|py|json|txt)$|^\.ci\/run$/;
const LEFT_OUT =
  /^(CHANGELOG\.md|scripts\/check-words\.mjs|package-lock\.json|test\/fuzz\/corpus\/|test\/conformance\/autobahn\.json)/;

/** Files whose comments have `COLUMNS_MAX` columns at most. */
const CODE = /\.(ts|tsx|mjs|js|cc|h|c|proto|sh|py)$|^\.ci\/run$/;
const COMMENT = /^\s*(\/\*\*|\*|\/\/|#|--)\s/;
const COLUMNS_MAX = 100;

/** Each rule: what is found, and what to write. Words are matched whole and in any case. */
const RULES = [
  [/\b(whoever|whomever|whom|whatever|whosoever)\b/i, 'name the actor: client, caller, edge, peer'],
  [/\b(somebody|everybody|anybody|nobody)\b(?!:|\/|@)/i, 'name the actor; "no edge", "no client"'],
  [/^\s*(\/\*\*|\*|\/\/|#|<!--)\s*(Of|Who|Whoever|Whom)\s/, 'open with a noun or a verb'],
  [/^\s*(\/\*\*|\/\/)\s*What\s/, 'open with a noun or a verb'],
  [/\b(asker|askers|askId|ask_id)\b/i, 'shard query'],
  [/\blanes?\b/i, 'pipelined connection, RedisPipeline'],
  [
    /\b(FrontDesk|Visitors?|WaitingRoom|waiting room)\b/i,
    'front proxy, pending connection, upstream dialer',
  ],
  [/\b(introduc(tion|tions|er|ers)|\w*Introduc(tion|er)\w*)\b/, 'protocol detection, handshake'],
  [/\b(hurry|hurries|hurried|mayHurry)\b/i, 'early data'],
  [/\b(deaf|isDeaf|deafen)\b/i, 'unsubscribed'],
  [/\b(let go|lets go|letting go|letGo|let-go|LetGo)\b/, 'disconnect, send a GOAWAY'],
  [/\b(doorbells?|bells?|rings? (the bell|here|for)|rung|rang)\b/i, 'notify, publish'],
  [
    /\b\w*[Rr]efus(e|es|ed|al|als|ing)\b(?<!connection refused|WILLS: 'refuse)/,
    'reject, rejection; "connection refused" is TCP’s',
  ],
  [/\b(believe|believes|believed|believing)\b/i, 'trust, assume; confirm lost edges'],
  [/\bcut off\b/i, 'partitioned'],
  [/\b(heal|heals|healed|healing)\b/i, 'recover'],
  [/\b(?!all)\w*(settled|settling|unsettled)\b(?!Results)/i, 'converged'],
  [/\b(departure|departures)\b/i, 'shutdown'],
  [/\b(survey|surveys)\b/i, 'startup check'],
  [/\bpatien(ce|tly|t)\w*/i, 'retry until available, timeout'],
  [/\b(strain|strains)\b/i, 'pressure'],
  [/\b(trouble|troubles)\b/i, 'error, problem'],
  [/\b(turned|turn|turns) away\b|\bturnedAway\b/i, 'rejected over the limit'],
  [/\btaken[-_]over\b/, 'session-replaced'],
  [
    /\b(of whom|is told what|comes again|told to come again|counts for so many)\b/i,
    'say it as to a colleague',
  ],
];

const files = process.argv.length > 2 ? process.argv.slice(2) : trackedFiles();
let found = 0;
for (const file of files) {
  const isNarrow = CODE.test(file);
  for (const [i, line] of readFileSync(file, 'utf8').split('\n').entries()) {
    if (isNarrow && line.length > COLUMNS_MAX && COMMENT.test(line)) {
      found++;
      console.log(`${file}:${i + 1}: a comment of ${line.length} columns; ${COLUMNS_MAX} at most`);
    }
    for (const [pattern, instead] of RULES) {
      const match = pattern.exec(line);
      if (match === null) continue;
      found++;
      console.log(`${file}:${i + 1}: "${match[0].trim()}": ${instead}`);
    }
  }
}
if (found > 0) {
  console.log(`${found} words, openings or widths that the project does not use`);
  process.exitCode = 1;
}

function trackedFiles() {
  return execFileSync('git', ['ls-files', '-co', '--exclude-standard'], { encoding: 'utf8' })
    .split('\n')
    .filter((file) => TEXTS.test(file) && !LEFT_OUT.test(file));
}
