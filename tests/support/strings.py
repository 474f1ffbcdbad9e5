"""Strings that break out: of folders, of pages, of shells, of log lines. For every name a stranger may choose."""

FORGED = '{"event":"forged","level":"info"}'
CANARY = "canary-was-here"
TRAVERSAL = (
    "../../../../../../etc/passwd", "..", ".", "/etc/passwd", "....//....//etc/passwd", "..\\..\\..\\etc\\passwd",
    "%2e%2e%2f%2e%2e%2fetc%2fpasswd", "..%c0%af..%c0%afetc/passwd", "%252e%252e%252fetc%252fpasswd", "~/x", "C:\\x",
    "file:///etc/passwd", "talk/../../../secret.key", "talk\0.png", "con", "a/b", "admin.token", "-rf", "--help",
)  # fmt: skip
MARKUP = (
    "<img src=x onerror=\"window.hacked='img'\">", "<script>window.hacked='script'</script>",
    "\"><svg onload=\"window.hacked='svg'\">", "'-alert(1)-'", "javascript:window.hacked='url'",
    "</script><script>window.hacked=1</script>",
    "<iframe srcdoc=\"<script>parent.hacked='frame'</script>\">", "{{7*7}}${7*7}<%= 7*7 %>", "<!--", "]]>",
    "<style>@import 'http://127.0.0.1:1/'</style>", "&lt;b&gt;", "\"autofocus onfocus=\"window.hacked='focus'",
)  # fmt: skip
SHELL = (
    f"$(touch {CANARY})", f"`touch {CANARY}`", f"; touch {CANARY};", f"| touch {CANARY}", f"&& touch {CANARY}",
    f"-f null -y {CANARY}", f"\ntouch {CANARY}\n", f"%(touch {CANARY})s", f"' ; touch {CANARY} #",
)  # fmt: skip
LOGS = (
    f"x\n{FORGED}", f"x\r\n{FORGED}", f"x\x0b{FORGED}", f"x\x85{FORGED}", f"x\u2028{FORGED}", "\x1b[2J\x1b[31mred",
    "\x00", "\x7f\x08\x08",
    "\u202egnp.exe", "\ufeff", "%s%n%x", "a" * 4096, "é" * 2048, "\ud7ff\U0010ffff",
)  # fmt: skip
ALL = (*TRAVERSAL, *MARKUP, *SHELL, *LOGS)
