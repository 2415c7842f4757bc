//! Lists of modules and packages: Python's own, those without any harmless name, and those whose classes alone are
//! harmless. `globals` and `makers` judge the names in them.

use std::collections::HashSet;
use std::sync::LazyLock;

type Names = LazyLock<HashSet<&'static str>>;

/// Whether a list has a name.
pub(super) fn holds(names: &Names, name: &str) -> bool {
    names.contains(name)
}

/// Modules whose names never belong in a weight file.
pub(super) static DANGEROUS_MODULES: Names = LazyLock::new(|| {
    "
    aifc aiohttp aix_support antigravity asyncio bdb builtin cPickle cProfile cgitb cloudpickle code codeop 
    commands compileall ctypes dbm dill distutils doctest ensurepip fileinput frozen_importlib 
    frozen_importlib_external ftplib functools gc glob http httplib idlelib imaplib imp importlib inspect io 
    joblib lib2to3 marshal mmap multiprocessing nntplib nt ntpath operator os osx_support pathlib pdb pickle 
    pip pkgutil platform poplib posix posixpath posixsubprocess profile pty pydoc pyrepl requests runpy 
    setuptools shelve shutil signal site smtplib socket socketserver sqlite3 ssl subprocess sys sysconfig 
    tarfile telnetlib tempfile test thread threading timeit trace types urllib urllib2 venv webbrowser winapi 
    winreg xmlrpc zipfile zipimport
    "
    .split_ascii_whitespace()
    .collect()
});

/// Packages in which no call makes data, or in which some class reaches files, the network or code.
pub(super) static UNSAFE_PACKAGES: Names = LazyLock::new(|| {
    "
    IPython Pyro4 Pyro5 _pytest aiohttp apt bokeh boto boto3 botocore celery cffi click cloudpickle cppyy 
    cython dask dill distributed django docker duckdb execnet fabric fire flask fsspec gcsfs gevent git gradio 
    greenlet h5py httpx invoke ipykernel jinja2 joblib jsonpickle jupyter_client kubernetes llvmlite mako 
    mlflow mpi4py multiprocess nbconvert notebook numba numexpr onnx onnxruntime paramiko pathos pexpect pip 
    pkg_resources plumbum polars psutil psycopg2 ptyprocess py pyarrow pymysql pymongo pytest ray redis 
    requests rpyc s3fs setuptools sh skops sqlalchemy streamlit sympy tblib tornado triton twisted 
    urllib3 uvicorn watchdog webdataset websocket websockets wheel xmltodict yaml zmq
    "
    .split_ascii_whitespace()
    .collect()
});

/// Packages whose classes are data and whose functions have effects.
pub(super) static CLASSES_ONLY: Names = LazyLock::new(|| {
    "
    PIL accelerate datasets diffusers huggingface_hub hydra keras matplotlib networkx nltk pandas peft spacy tensorflow
    tf_keras torchaudio torchvision transformers weave
    "
    .split_ascii_whitespace()
    .collect()
});

/// The modules of Python's standard library, of 2.7 to 3.15, without the underscores before their names.
pub(super) static STANDARD: Names = LazyLock::new(|| {
    "
    BaseHTTPServer CGIHTTPServer ConfigParser Cookie Dialog DocXMLRPCServer FixTk HTMLParser Queue 
    ScrolledText SimpleHTTPServer SimpleXMLRPCServer SocketServer StringIO Tkinter UserDict UserList 
    UserString abc aifc aix_support android_support annotationlib antigravity anydbm apple_support argparse 
    array ast asynchat asyncio asyncore atexit audioop base64 bdb binascii binhex bisect blake2 bootsubprocess 
    bsddb builtin builtin__ builtins builtins__ bz2 cPickle cProfile cStringIO calendar cgi cgitb chunk cmath 
    cmd code codecs codecs_cn codecs_hk codecs_iso2022 codecs_jp codecs_kr codecs_tw codeop collections 
    collections_abc colorize colorsys commands compat_pickle compileall compression concurrent configparser 
    contextlib contextvars cookielib copy copy_reg copyreg crypt csv ctypes ctypes_test curses curses_panel 
    dataclasses datetime dbhash dbm decimal difflib dis distutils doctest dumbdbm dummy_thread dummy_threading 
    elementtree email encodings ensurepip enum errno exceptions faulthandler fcntl filecmp fileinput fnmatch 
    formatter fractions frozen_importlib frozen_importlib_external ftplib functools future__ gc gdbm 
    genericpath getopt getpass gettext glob graphlib grp gzip hashlib heapq hmac html htmlentitydefs http 
    httplib idlelib ihooks imaplib imghdr imp importlib inspect interpchannels interpqueues interpreters io 
    ios_support ipaddress itertools json keyword lib2to3 linecache locale logging lsprof lzma macpath 
    macurl2path mailbox mailcap markupbase marshal math md5 mimetypes mmap modulefinder msi msilib msvcrt 
    multibytecodec multiprocessing netrc new nis nntplib nt ntpath nturl2path numbers opcode operator optparse 
    os ossaudiodev osx_support overlapped parser pathlib pdb pickle pickletools pipes pkgutil platform 
    plistlib popen2 poplib posix posixfile posixpath posixshmem posixsubprocess pprint profile profiling 
    pstats pty pwd py_abc py_compile pyclbr pydatetime pydecimal pydoc pydoc_data pyexpat pyio pylong pyrepl 
    queue quopri random re readline remote_debugging repr reprlib resource rexec rlcompleter robotparser runpy 
    sched scproxy secrets select selectors sets sha sha1 sha256 sha3 sha512 shelve shlex shutil signal site 
    sitebuiltins smtpd smtplib sndhdr socket socketserver spwd sqlite3 sre sre_compile sre_constants sre_parse 
    ssl stat statistics string stringprep strptime struct subprocess sunau symbol symtable sys sysconfig 
    syslog tabnanny tarfile telnetlib tempfile termios test testbuffer testcapi testinternalcapi 
    testmultiphase textwrap this thread threading threading_local time timeit tkFileDialog tkinter token 
    tokenize tomllib trace traceback tracemalloc tty turtle turtledemo types typing unicodedata unittest 
    urllib urllib2 urlparse user uu uuid venv warnings wave weakref weakrefset webbrowser whichdb winapi 
    winreg winsound wsgiref xdrlib xml xmlrpc xmlrpclib xxinterpchannels xxlimited xxsubinterpreters 
    xxtestfuzz zipapp zipfile zipimport zlib zoneinfo zstd
    "
    .split_ascii_whitespace()
    .collect()
});

/// The standard modules that contain other modules.
static PACKAGES: Names = LazyLock::new(|| {
    "
    asyncio bsddb collections compiler compression concurrent ctypes curses dbm distutils email encodings 
    ensurepip hotshot html http idlelib importlib json lib2to3 logging multiprocessing os pathlib profile 
    profiling pydoc_data pyrepl re sqlite3 string sysconfig test tkinter tomllib turtledemo unittest urllib 
    venv wsgiref xml xmlrpc zipfile zoneinfo
    "
    .split_ascii_whitespace()
    .collect()
});

/// Whether Python's standard library has such a module: a user's own folder `code/` is not part of it.
pub(super) fn is_standard(module: &str) -> bool {
    let (root, below) = module.split_once('.').unwrap_or((module, ""));
    let root = root.trim_start_matches('_');
    holds(&STANDARD, root) && (below.is_empty() || holds(&PACKAGES, root))
}

/// Whether a module is neither Python's, nor torch's, nor numpy's.
pub(super) fn is_foreign(module: &str) -> bool {
    !is_standard(module) && !matches!(module.split('.').next(), Some("torch" | "numpy"))
}
