// Our dashboards as types of Grafana's own; scripts/deployment checks the files against them.
import type { Dashboard, FieldConfigSource, Panel, RowPanel } from '@grafana/schema';
import type * as Stat from '@grafana/schema/dist/esm/raw/composable/stat/panelcfg/x/StatPanelCfg_types.gen';
import type * as Series from '@grafana/schema/dist/esm/raw/composable/timeseries/panelcfg/x/TimeSeriesPanelCfg_types.gen';
import type * as Timeline from '@grafana/schema/dist/esm/raw/composable/statetimeline/panelcfg/x/StateTimelinePanelCfg_types.gen';
import type * as Table from '@grafana/schema/dist/esm/raw/composable/table/panelcfg/x/TablePanelCfg_types.gen';

// What JSON can say: an enum is its value, and every key must be known.
type Plain<T> = T extends string ? (string extends T ? string : `${T}`)
  : T extends number | boolean | null | undefined ? T
  : T extends (infer Item)[] ? Plain<Item>[]
  : unknown extends T ? T
  : T extends object ? { [Key in keyof T]: Plain<T[Key]> } : T;
interface Query {
  refId: string; datasource: { type: 'prometheus'; uid: '${datasource}' }; editorMode: 'code'; expr: string;
  legendFormat: string; range: boolean; instant: boolean; format?: 'table';
}
interface Source<Custom> extends Omit<FieldConfigSource, 'defaults'> {
  defaults: Omit<FieldConfigSource['defaults'], 'custom'> & { custom: Custom };
}
type Of<Type extends string, Options, Custom> =
  Omit<Panel, 'type' | 'options' | 'targets' | 'fieldConfig'>
  & { type: Type; options: Options; targets: Query[]; fieldConfig: Source<Custom>; title: string; description: string };
type Ours = Plain<
  Of<'stat', Stat.Options, Record<string, never>> | Of<'timeseries', Series.Options, Series.FieldConfig>
  | Of<'state-timeline', Timeline.Options, Timeline.FieldConfig>
  | Of<'table', Table.Options, Partial<Table.FieldConfig>>>;
interface Alerts {
  name: string; datasource: Query['datasource']; enable: boolean; hide: boolean; iconColor: string;
  expr: string; titleFormat: string; textFormat: string; step: string;
}
export type Board = Plain<Omit<Dashboard, 'panels' | 'annotations'>>
  & { panels: (Ours | Plain<RowPanel>)[]; annotations: { list: Alerts[] } };
