"""The report's style sheet."""

STYLE = """
:root { --page: #f6f7f8; --card: #fff; --ink: #1b1f24; --soft: #5b6570; --rule: #dfe3e8; }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 16px/1.5 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { max-width: 980px; margin: 0 auto; padding: 32px 20px 60px; }
h1 { font-size: 1.7rem; margin: 0 0 .3rem; } h2 { font-size: 1.15rem; margin: 2.2rem 0 .4rem; }
p { margin: .3rem 0 .8rem; max-width: 46rem; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: 12px; margin: 1.2rem 0; }
.tile, figure { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 12px 14px; }
.tile b { display: block; font-size: 1.5rem; line-height: 1.25; font-variant-numeric: tabular-nums; }
.tile span { display: block; font-size: .84rem; color: var(--soft); }
figure { margin: .5rem 0 1rem; overflow-x: auto; } svg { display: block; max-width: 100%; height: auto; margin: 0 auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; background: var(--card); }
th, td { text-align: left; padding: 6px 12px 6px 8px; border-bottom: 1px solid var(--rule); vertical-align: top; }
th { color: var(--soft); font-weight: 500; white-space: nowrap; }
.number { text-align: right; font-variant-numeric: tabular-nums; }
pre { margin: 0; font: .82rem/1.45 ui-monospace, "DejaVu Sans Mono", monospace; white-space: pre-wrap; overflow-wrap: anywhere; }
ol { padding-left: 1.6rem; } li { margin: .35rem 0; }
.word { border-bottom: 3px solid var(--c); padding: 0 1px; } .word.wrong { text-decoration: underline wavy #c62828; }
.right { color: #1a7f37; } .wrong { color: #c62828; } .word.wrong { color: inherit; }
"""
