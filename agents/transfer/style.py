"""Style: the look of the report's page, light and dark, from a phone to a wide screen. Blue helps, orange hurts."""

from __future__ import annotations

STYLE = """
:root{--paper:#fff;--ink0:#1c2430;--soft:#5b6675;--rule:#dfe4ea;--card:#f5f7fa;--blue:#2463c9;--orange:#c8590c;--grey:#a9b3c0}
@media (prefers-color-scheme:dark){:root{--paper:#12161c;--ink0:#e6eaf0;--soft:#9aa6b5;--rule:#2b333e;--card:#1a2029;
--blue:#6ea2f5;--orange:#f0934a;--grey:#56616f}}
*{box-sizing:border-box}
body{margin:0;background:var(--paper);color:var(--ink0);font:16px/1.5 system-ui,sans-serif}
main{max-width:1160px;margin:0 auto;padding:24px 16px 48px}
h1{font-size:1.6rem;margin:0 0 8px}h2{font-size:1.25rem;margin:28px 0 8px;
border-top:1px solid var(--rule);padding-top:20px;overflow-wrap:anywhere}h3{font-size:1rem;margin:24px 0 8px}
.headline{font-size:1.15rem;max-width:60em;overflow-wrap:anywhere}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(170px,1fr));gap:12px}
.tiles div{background:var(--card);border-radius:8px;padding:12px 14px}
.tiles span,.tiles small{display:block;color:var(--soft);font-size:.85rem}.tiles b{font-size:1.5rem}
.two{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(100%,420px),1fr));gap:8px 32px}
figure{margin:0;min-width:0}svg{width:100%;height:auto;display:block}
figcaption,.note{color:var(--soft);font-size:.85rem;max-width:70em}
figcaption i{display:inline-block;width:12px;height:12px;border-radius:2px;margin:0 5px 0 10px;vertical-align:-1px}
.axis{fill:var(--soft);font-size:12px}.grid{stroke:var(--rule)}
polyline{fill:none;stroke-width:2.5}polyline.seeded{stroke:var(--blue)}polyline.cold{stroke:var(--orange)}
circle.seeded{fill:var(--blue)}circle.cold{fill:var(--orange)}
i.seeded,i.helped{background:var(--blue)}i.cold,i.hurt{background:var(--orange)}i.equal{background:var(--grey)}
.bar{display:grid;grid-template-columns:minmax(0,11em) 1fr 3.5em;gap:10px;align-items:center;
margin:4px 0;font-size:.9rem}
.bar span{overflow:hidden;text-overflow:ellipsis;white-space:nowrap}.bar div{display:flex;height:16px;gap:1px}
.bar i{flex-basis:0;min-width:2px;border-radius:2px}.bar small{color:var(--soft);text-align:right}
.scroll{overflow-x:auto}table{border-collapse:collapse;width:100%;font-size:.9rem}
th,td{text-align:left;padding:5px 10px;border-bottom:1px solid var(--rule);vertical-align:top}
th{color:var(--soft);font-weight:600;white-space:nowrap}td{font-variant-numeric:tabular-nums}
.heat th[scope]{color:var(--ink0);font-weight:400;max-width:22em;overflow:hidden;text-overflow:ellipsis}
.heat td.lent,.heat td.helped{background:color-mix(in srgb,var(--blue) var(--ink),transparent)}
.heat td.hurt{background:color-mix(in srgb,var(--orange) var(--ink),transparent)}
"""
