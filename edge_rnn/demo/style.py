"""The page's style sheet: light and dark, and colours that colour-blind readers can tell apart.

The four class colours are of the palette by Okabe and Ito ("Color Universal Design", 2008).
"""

STYLE = """
:root {
  color-scheme: light dark;
  --page: #f6f7f8; --card: #ffffff; --ink: #1b1f24; --soft: #5b6570; --rule: #dfe3e8; --grid: #eceff2;
  --c0: #0072b2; --c1: #e69f00; --c2: #009e73; --c3: #cc79a7;
  --good: #1a7f37; --bad: #c62828; --mark: #c62828; --in: #1b1f24; --out: #0072b2; --down: #c6282814;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #101418; --card: #181d23; --ink: #e8ecf0; --soft: #9ba7b4; --rule: #2b333c; --grid: #252c34;
    --c0: #3d9fdc; --c1: #f0b030; --c2: #2ab58b; --c3: #dd94bd;
    --good: #4cc26b; --bad: #ff7b72; --mark: #ff7b72; --in: #e8ecf0; --out: #3d9fdc; --down: #ff7b7220;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif;
}
main { max-width: 960px; margin: 0 auto; padding: 36px 20px 60px; }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .5rem; letter-spacing: -.01em; }
h2 { font-size: 1.15rem; margin: 2.4rem 0 .3rem; }
p { margin: .3rem 0 .8rem; max-width: 46rem; }
.caption, .soft, footer { color: var(--soft); }
.tiles { display: grid; grid-template-columns: repeat(4, 1fr); gap: 12px; margin: 1.4rem 0 .4rem; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 12px 14px; }
.tile b { display: block; font-size: 1.55rem; line-height: 1.25; font-weight: 650; font-variant-numeric: tabular-nums; }
.tile b.good { color: var(--good); } .tile b.bad { color: var(--bad); }
.tile span { font-size: .84rem; color: var(--soft); display: block; line-height: 1.35; }
.tile .what { color: var(--ink); font-weight: 550; }
figure { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; margin: .6rem 0 1rem; padding: 16px 18px 12px; }
figcaption { font-size: .88rem; color: var(--soft); margin-top: .5rem; }
svg { display: block; max-width: 100%; height: auto; }
.narrow { display: none; }
@media (max-width: 680px) {
  .wide { display: none; } .narrow { display: block; }
  main { padding: 24px 12px 40px; } figure { padding: 12px 10px 10px; }
  .tiles { grid-template-columns: repeat(2, 1fr); gap: 8px; }
  .more { display: none; } table { font-size: .82rem; }
}
.legend { display: flex; flex-wrap: wrap; gap: 4px 18px; font-size: .86rem; margin-bottom: .6rem; }
.legend i { display: inline-block; width: 12px; height: 12px; border-radius: 2px; margin-right: 6px; vertical-align: -1px; }
.legend i.stroke { height: 0; border-top: 2px solid; border-radius: 0; width: 18px; vertical-align: 4px; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } tr:last-child td { border-bottom: 0; }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
code { font: .86rem/1.5 ui-monospace, "SF Mono", "DejaVu Sans Mono", Menlo, monospace; overflow-wrap: anywhere; }
ol.commands { list-style: none; margin: 0; padding: 0; }
ol.commands li { padding: 8px 0; border-bottom: 1px solid var(--rule); }
ol.commands li:last-child { border-bottom: 0; }
ol.commands span { display: block; font-size: .84rem; color: var(--soft); }
footer { font-size: .84rem; margin-top: 2rem; }
svg text { font: 12px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; fill: var(--ink); }
svg .tick { fill: var(--soft); font-size: 11px; } svg .label { fill: var(--soft); }
svg .name { font-weight: 600; } svg .marked { fill: var(--mark); font-weight: 600; }
svg .c0 { fill: var(--c0); } svg .c1 { fill: var(--c1); } svg .c2 { fill: var(--c2); } svg .c3 { fill: var(--c3); }
svg .missing { fill: var(--grid); }
svg path { fill: none; stroke-linejoin: round; }
svg .s0 { stroke: var(--c0); } svg .s1 { stroke: var(--c1); } svg .s2 { stroke: var(--c2); } svg .s3 { stroke: var(--c3); }
svg .s0, svg .s1, svg .s2, svg .s3 { stroke-width: 1.4; } svg .strong { stroke-width: 2.8; }
svg .grid { stroke: var(--grid); } svg .axis { stroke: var(--soft); }
svg .mark { stroke: var(--mark); stroke-width: 1.4; stroke-dasharray: 4 3; }
svg .over { stroke-width: 2; }
svg .tickmark { stroke: var(--good); stroke-width: 1.8; } svg .cross { stroke: var(--bad); stroke-width: 2.2; }
svg .strong-line { stroke: var(--out); stroke-width: 2; }
svg .in-line { stroke: var(--in); stroke-width: 1.6; } svg .out-line { stroke: var(--out); stroke-width: 1.6; }
svg path.out-area { fill: var(--out); fill-opacity: .18; } svg .down { fill: var(--down); }
"""
