"""How the page looks: on paper, in light and in dark.

Owns the colours, which are Okabe and Ito's and their darker or lighter kin where text needs contrast. Never names a
source outside the page. Read by the document.
"""

# no "<", "&" or "]]>" may stand here: the page is XML too, where they would have to be escaped and in HTML must not be
STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1b1f24;--soft:#57606a;--rule:#d5dae0;--grid:#e8ebee;
--blue:#00619c;--band:#56b4e9;--green:#00735a;--purple:#9c4a7c;--orange:#9a5b00;--red:#b04300;--grey:#6b7480;
--bar:#b9d9ee;--bar-dark:#0072b2;--high:#d55e00;--medium:#e69f00;--info:#8a94a0}
@media (prefers-color-scheme:dark){:root{--paper:#14181d;--ink:#e8eaed;--soft:#a3adb8;--rule:#3a424c;--grid:#272e36;
--blue:#6cc0f5;--band:#2f7fb5;--green:#3fcfa4;--purple:#e59ac4;--orange:#f2b544;--red:#ff9a57;--grey:#a3adb8;
--bar:#2b4a63;--bar-dark:#56b4e9;--high:#ff7f2a;--medium:#e69f00;--info:#7b8794}}
@media print{:root{color-scheme:light;--paper:#fff;--ink:#000;--soft:#444;--rule:#bbb;--grid:#ddd;--blue:#00619c;
--band:#56b4e9;--green:#00735a;--purple:#9c4a7c;--orange:#9a5b00;--red:#b04300;--grey:#555;--bar:#b9d9ee;
--bar-dark:#0072b2;--high:#d55e00;--medium:#e69f00;--info:#8a94a0}
svg,tr,.pair div{break-inside:avoid}h2,h3{break-after:avoid}section{break-before:auto}nav{display:none}
@page{margin:14mm 12mm}
*{-webkit-print-color-adjust:exact;print-color-adjust:exact}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:880px;padding:24px 20px 48px;background:var(--paper);color:var(--ink);
font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",Arial,sans-serif;overflow-wrap:anywhere}
h1{font-size:26px;line-height:1.2;margin:0 0 4px}h2{font-size:20px;margin:40px 0 8px;padding-top:16px;
border-top:1px solid var(--rule)}h2 small{font-weight:400;color:var(--soft)}h3{font-size:15px;margin:26px 0 4px}
nav h2{font-size:15px;margin:20px 0 4px;padding:0;border:0}nav ul{margin:0;padding-left:20px}
p{margin:4px 0}header p,.note,.rest,footer{color:var(--soft)}.verdict{font-size:16px;margin:8px 0}
a{color:var(--blue)}footer{margin-top:40px;padding-top:12px;border-top:1px solid var(--rule);font-size:13px}
.badge{display:inline-block;padding:0 8px;border:1.5px solid var(--grey);border-radius:4px;color:var(--grey);
font-size:.88em;white-space:nowrap}.excellent,.good{border-color:var(--green);color:var(--green)}
.fair{border-color:var(--orange);color:var(--orange)}.poor{border-color:var(--red);color:var(--red)}
svg{display:block;width:100%;height:auto;overflow:hidden}.plot{min-width:640px}
.pair{display:flex;flex-wrap:wrap;gap:8px 36px}.pair div{flex:1 1 330px;min-width:0}.pair svg{max-width:370px}
.row{display:flex;flex-wrap:wrap;gap:8px 48px}
svg text{font:11px system-ui,-apple-system,"Segoe UI",Roboto,Arial,sans-serif;fill:var(--soft)}
svg .strong{font-weight:600}.end{text-anchor:end}.middle{text-anchor:middle}
svg .label{font-size:12px}svg .label.measured{font-weight:600}
.grid{stroke:var(--grid);fill:none}.frame{stroke:var(--grey);fill:none}
path.measured,path.arrived,path.estimated{fill:none;stroke-width:1.8;stroke-linejoin:round}
path.measured{stroke:var(--blue)}path.arrived{stroke:var(--green);stroke-width:1.2}
path.estimated{stroke:var(--purple);stroke-width:1.5;stroke-dasharray:5 4}
path.baseline{fill:none;stroke:var(--ink);stroke-width:1.2;stroke-dasharray:1 3;stroke-linecap:round}
circle.measured,.mark{fill:var(--blue)}circle.arrived{fill:var(--green)}circle.estimated{fill:var(--purple)}
.band{fill:var(--band);fill-opacity:.28}.whisker{stroke:var(--band);stroke-opacity:.6;fill:none}
.was{stroke:var(--grey);stroke-opacity:.55;fill:none}.is{stroke:var(--bar-dark);fill:none}
.stick{stroke:var(--bar-dark);stroke-width:7;fill:none;stroke-opacity:.55}
text.measured,text.labelled-name{fill:var(--blue)}text.arrived{fill:var(--green)}text.estimated{fill:var(--purple)}
text.baseline{fill:var(--ink)}text.failed-name{fill:var(--red)}
.predicted{stroke:var(--bar)}.labelled{stroke:var(--bar-dark)}.failed{stroke:var(--high)}
.span.high{fill:var(--high);fill-opacity:.16}.span.medium{fill:var(--medium);fill-opacity:.18}
.span.info{fill:var(--info);fill-opacity:.14}.bar.high{fill:var(--high)}.bar.medium{fill:var(--medium)}
.bar.info{fill:var(--info)}text.name.high{fill:var(--red)}text.name.medium{fill:var(--orange)}
.cell{fill:var(--bar-dark);stroke:var(--rule)}svg .cell-name{fill:var(--ink);font-size:13px}
svg .cell-name.small{font-size:10px}
.wide{overflow-x:auto;margin:14px 0}.wide:has(.plot){margin:0}
table{border-collapse:collapse;font-size:13px;font-variant-numeric:tabular-nums}
@media print{table{font-size:10.5px}}
caption{text-align:left;white-space:nowrap;font-weight:600;padding-bottom:4px}
th,td{text-align:right;white-space:nowrap;vertical-align:top;font-weight:400;padding:3px 14px 3px 0;
border-bottom:1px solid var(--grid);overflow-wrap:break-word;max-width:28em}
thead th{color:var(--soft);font-size:12px;white-space:normal;vertical-align:bottom;border-bottom:1px solid var(--rule)}
.w{text-align:left;white-space:normal}details{margin:6px 0}summary{cursor:pointer;color:var(--soft);font-size:13px}
"""
