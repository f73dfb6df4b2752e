/** The processes of the cluster as they describe themselves, and where they differ. Pure. */
import type { SettingDigests } from '../../common/process/agreed-settings.js';
import { type EdgeRecord, isMember } from '../membership/edge-record.js';
import type { RouterRecord } from './load-history.js';
import type { Replica } from './replicas.js';

export interface Member {
  readonly role: 'edge' | 'router' | 'control';
  readonly id: string;
  /** Empty: it has not said. */
  readonly version: string;
  /** Git commit; empty: it has not said, or its build did not record it. */
  readonly commit: string;
  readonly settings: SettingDigests;
}

/** The processes that describe themselves; edges and routers do so only to the leader. */
export interface Processes {
  readonly edges: readonly EdgeRecord[];
  readonly routers: readonly RouterRecord[];
  readonly controls: readonly Replica[];
}

export function membersOf({ edges, routers, controls }: Processes): Member[] {
  return [
    ...edges.filter(isMember).map(({ id, build, settings = {} }): Member => {
      const { version = '', commit = '' } = build ?? {};
      return { role: 'edge', id, version, commit, settings };
    }),
    ...routers.map(({ load: { routerId: id, version, commit, settings } }): Member => {
      return { role: 'router', id, version, commit, settings };
    }),
    ...controls.map((control): Member => ({ role: 'control', ...control })),
  ];
}

export interface DifferingSetting {
  readonly name: string;
  /** Ids of the processes, by value; the largest group first. */
  readonly groups: readonly (readonly string[])[];
}

/** Settings that are not alike in all processes that have them, by name. */
export function differingSettings(members: readonly Member[]): DifferingSetting[] {
  const found = new Map<string, Map<number, string[]>>();
  for (const { id, settings } of members) {
    for (const [name, digest] of Object.entries(settings)) {
      const groups = found.get(name) ?? new Map<number, string[]>();
      const ids = groups.get(digest) ?? [];
      ids.push(id);
      found.set(name, groups.set(digest, ids));
    }
  }
  return [...found]
    .filter(([, groups]) => groups.size > 1)
    .map(([name, groups]) => ({
      name,
      groups: [...groups.values()].sort((a, b) => b.length - a.length),
    }))
    .sort((a, b) => (a.name < b.name ? -1 : 1));
}

/** Number of builds: pairs of version and commit that processes have said. */
export function countBuilds(members: readonly Member[]): number {
  const said = members.filter(({ version }) => version !== '');
  return new Set(said.map(({ version, commit }) => `${version} ${commit}`)).size;
}
