"""What every process runs first: see `constellation.process.locality`.

Written by `python tests/support/locality_lists.py`, in the order in which it was called.
"""

FUNCTIONS = """
process.monitor _watch_over
process.system set_name _ask become_subreaper
process.monitor Task.may_be_followed
control.stream MessageStream.fileno
process.signals Wakeup.descriptors
process.descriptors close_all_but
process.system set_parent_death_signal
process.signals restore_mask
process.monitor _Monitor.__init__
process.signals Wakeup.fileno
process.monitor _Monitor._tell
control.stream MessageStream.post MessageStream._write
process.monitor _Monitor.loop _Monitor._reap
process.system reap
process.monitor _Monitor._finished _Monitor._gone _Monitor._adjust
control.stream MessageStream.unsent
process.monitor _Monitor._timeout _Monitor._read _Monitor._close_pipe _Monitor._pass_time
process.signals Wakeup.take
process.monitor _Monitor._before_reaping _Monitor._pipe_size _Monitor._look_into_nursery
process.system max_rss_bytes
process.monitor _Monitor.can_serve_again Task.close_descriptors
control.stream MessageStream.close
process.respite await_fork
control.stream MessageStream.receive MessageStream._read MessageStream._read_once
control.stream MessageStream._decode
process.monitor _Monitor._converse
control.stream MessageStream.flush
process.monitor _Monitor._obey _Monitor._end _Monitor._kill
process.system children _tracker_kept
process.monitor _set_apart _connect_streams
runtime _enter
process.entry adapt
process.origin Origin.restore
process.signals Handlers.restore
process.leave forget_exit_handlers
transport.transport Transport.__init__ Transport._make_lodge
transport.router Router.__init__ Router._bind Router._limit
transport.reactor Reactor.__init__
transport.lock Lock.__init__
transport.descriptors Poller.__init__
transport.spinning Spinning.__init__
transport.descriptors Wakeup.__init__ Wakeup.fileno Poller.add Poller.fileno
transport.reactor Reactor.watch
transport.memory Memory.__init__
transport.pool Pool.__init__
wire.reserve Reserve.__init__
channel.context Context.__init__ install
process.examiner Examiner.__init__
transport.windows Windows.__init__
process.adoption await_adoption
pid Pid.__post_init__ _is_endpoint
process.identity Identity.__init__
runtime Runtime.__init__ _node
uncaught show_users_frames
runtime _work
process.leave run
process.origin Origin.resume
channel.context current
process.spawn receive _Acceptance.__init__ _FromSpawner.__init__
transport.lock Lock.__enter__
transport.transport Transport.peer
transport.router Router.seals
wire.link Link.__init__
wire.events Greeted.__init__
transport.peer Peer.__init__
transport.transport Transport.tell
control.stream MessageStream.send
transport.transport Transport.inlet
channel.mailbox Mailbox.__init__
process.spawn _Closure.__init__
operation Operation.block Operation._start
process.spawn _Closure._attempt
operation Operation._block
process.spawn _FromSpawner._waits
transport.reactor Reactor.wait_blocking
process.spawn _Closure._enlist
transport.reactor Reactor._take_place
transport.transport Transport._flush Transport._hand_over
transport.router Router.settle
transport.reactor Reactor._arm
transport.descriptors Poller.arm
transport.reactor Reactor._wait_leading
transport.spinning Spinning.wait
transport.descriptors Poller.wait
transport.transport Transport._service Transport._drain
transport.router Router.readable Router.receive
transport.transport Transport._take Transport._take_any
wire.codec decode
transport.transport Transport._route_seen
wire.link Link.route_up Link.receive
transport.transport Transport._handle Transport._dispatch Transport._greeted
wire.link Link.arrive
wire.codec _decode_open
wire.frames Open.__init__
wire.link Link._receive_record
wire.stream Inbound.__init__ Inbound.receive Inbound._told
wire.events Opened.__init__
wire.link Link.acknowledge
channel.mailbox Mailbox.opened Opened.__init__
wire.codec _decode_data _inline_parts
wire.frames Data.size
wire.stream Inbound.arrive
channel.mailbox Mailbox.arrived
transport.reactor ThreadWaiter.notify
process.spawn _Closure._delist
transport.reactor Reactor._lead_left Reactor._let_wait Reactor.set_timer
wire.stream Inbound.consumed
transport.transport Transport.acknowledge
wire.link Link.pending
transport.transport Transport.transmit Transport._send_frames
wire.link Link.next_frame
wire.codec encode _encode_control
transport.router Router.send
wire.link Link.deadline
transport.transport Transport._set_timer
transport.reactor Reactor.look_again
process.spawn _start
transport.transport Transport.start
transport.reactor Reactor.start Reactor._run Reactor._serve_until_stopped Reactor._do_put_off
process.spawn _Acceptance._attempt _FromSpawner._enlist
transport.router Router._skip_rest
transport.reactor Reactor._serve
wire.codec _exactly
wire.frames Close.__init__
wire.events Received.__init__
channel.mailbox Mailbox.closed Mailbox.wake
transport.transport Transport.released Transport._pump
transport.reactor Reactor._leave_to_loops
transport.transport Transport._next_timer Transport._read_control Transport._hear
process.spawn _Acceptance.go _FromSpawner._delist
process.environment apply
channel.payload load_call
channel.decoder Decoder.__init__ Decoder.decode Decoder._decode_small
channel.pickling needs_image
process.image Image.rebound
channel.sender Sender.__class_getitem__
channel.types Typed.__init__ type_name _cached _name _generic _qualified Typed.__call__
channel.sender Sender.__init__ check_remote
transport.transport Transport.run_deferred
channel.outlet Outlet.__init__
channel.guard Guard.__init__
transport.lock _AtomicEntry.__init__
wire.link Link.outbound
wire.stream Outbound.__init__
channel.outlet Outlet.open Outlet._encoder_of
channel.encoder Encoder.__init__ _Output.__init__
channel.pickling ImagePickler.__init__
channel.byvalue FunctionReducer.__init__
wire.stream Outbound.open Outbound._push
wire.link Link.queue
channel.outlet Outlet._refresh
channel.sender Sender.send _Send._block_fresh
channel.outlet Outlet.put
channel.guard Guard.held Guard.admit
channel.outlet Outlet._put
channel.encoder Encoder.add
channel.outlet Outlet._consider Outlet._push
channel.encoder Encoder.message
channel.layout pack_small
wire.stream Outbound.dispatch Outbound.push
channel.encoder Encoder.clear
wire.stream Outbound.next_frame
channel.sender Sender.__del__
transport.transport Transport.defer
transport.reactor Reactor.wake_io
transport.descriptors Wakeup.set Wakeup.clear
channel.outlet Outlet.close_deferred
channel.guard Guard.attempt
channel.outlet Outlet._close
wire.stream Outbound.close
transport.transport Transport.flushed
channel.receiver Receiver.__class_getitem__ Receiver.__init__ Receiver.recv _Recv._block_fresh
channel.receiver _Recv._attempt _Recv._enlist
transport.transport Transport._run_timers Transport._peer_due
wire.link Link.tick
wire.stream Inbound.credit Inbound._room Inbound.acknowledged
wire.frames Credit.__init__
wire.link Link._receive_credit
wire.stream Outbound.credit Outbound.sent Outbound._allowed Outbound.sendable
channel.outlet Outlet.received
transport.transport Transport._settled
channel.outlet Outlet.room
channel.receiver _Recv._delist Receiver._take Receiver._advance
channel.decoder Decoder.decode_one
channel.receiver Receiver.__del__
process.leave leave _attempt
runtime Runtime.leave
process.writers Writers.leave Writers._find _subclasses Writers._before_init Writers._flush _layers
process.writers _attempt
transport.leaving leave
channel.receiver _release
channel.outlet Outlet.shut
wire.link Link.request_receipt
wire.stream Outbound.delivered
transport.leaving _Delivery.__init__
deadline Deadline.after
transport.leaving _Delivery._enlist _Delivery._attempt
transport.peer Peer.settled
wire.link Link.streams
transport.leaving _Delivery._delist
transport.reactor Reactor._gone
transport.peer Peer.overlooked
channel.mailbox Mailbox.overlooked
transport.peer Peer.undelivered
wire.link Link.undelivered
wire.stream Outbound.undelivered
transport.transport Transport.send_byes
wire.link Link.leave
wire.frames Bye.__init__
transport.transport Transport.close
transport.reactor Reactor.stop
transport.descriptors Poller.close Wakeup.close
transport.router Router.close
transport.memory Memory.close
transport.pool Pool.close
process.leave _flush
process.system flush_c_streams
process.spawn spawn _Spawn.__init__ _Spawn._reset
operation Operation._make
process.spawn _Spawn._attempt _Spawn._ask
channel.payload dump_call
channel.pickling ImagePickler.reducer_override
process.image Image.plain
channel.captures warn_if_large
channel.encoder Encoder.take
channel.pickling ImagePickler.forget
channel.byvalue FunctionReducer.forget
process.environment difference _environ
process.image directory_identity
transport.transport Transport.prepare Transport._count_opening
transport.router Router.prepare Router.watch
transport.descriptors require
transport.router Router._watch
units Mem.__int__ Cpu.__float__
process.spawn _Spawn._waits _Spawn._enlist
transport.transport Transport._look_soon
process.spawn _Spawn.placed
transport.transport Transport._choose_route
transport.router Router.dial Router._nearest
transport.transport Transport._far
wire.stream Outbound.rewind
transport.reactor Reactor.leads
process.spawn _Spawn.spawned _Spawn._wake _Spawn._delist
transport.transport Transport._rest
transport.peer Peer.held
channel.outlet Outlet.in_use
channel.mailbox Mailbox.in_use
wire.stream Outbound.asks
transport.transport Transport._look
wire.codec _decode_bye
wire.link Link._receive_bye Link._check_left
wire.events Left.__init__
transport.transport Transport._read_rest Transport._read_monitor
transport.router Router.disconnected Router.told key_of_route
wire.stream Inbound.new_route Outbound.narrow
control.messages Status.exit_status
units Mem.__new__ _Quantity._make _exact Mem._counted _Quantity._of
exit_status ExitStatus.__init__ ExitStatus.__post_init__
transport.transport Transport._exited
channel.outlet Outlet.ended
transport.transport Transport._check_ending Transport._end
transport.router Router.hang_up
channel.mailbox Mailbox.ended
wire.link Link.end
transport.memory Memory.forget
transport.pool Pool.forget
transport.transport Transport._forget
errors ProcessExited.__init__
operation Operation._abandon without_internals
channel.mailbox Mailbox.unread
control.stream MessageStream.__init__
process.descriptors replace_with_null
process.origin Origin.shed
"""

NAMES = """
system set_name become_subreaper os close enumerate may_be_followed close_descriptors fileno
lifeline descriptors close_all_but union set_parent_death_signal signal SIGTERM zygote signals
restore_mask _Monitor loop can_serve_again await_fork next block_all BaseException newborn pid
traceback format_exc contextlib suppress ConnectionError send Trouble _exit LINUX _ask _PR_SET_NAME
ctypes c_char_p fsencode _libc prctl _ZERO get_errno OSError strerror _PR_SET_CHILD_SUBREAPER
_ARGUMENTS command initial _socket _read _write list map int listdir FileNotFoundError range
resource getrlimit RLIMIT_NOFILE _PR_SET_PDEATHSIG getppid _sigmask _SETMASK _child _nursery
_zygote _lifeline _stream _connected _wakeup _pipes _reading _writing OUTPUT_WINDOW _room
_childless _died_at _held _read_since_death _DEFAULT_PIPE_SIZE _read_to_be_sure _killing_until
_cause _own_kill select poll _poll register POLLIN _tell Started _end post _disconnect _encoder
encode _HEADER pack len _outgoing append memoryview tuple flush BlockingIOError _reap _finished
_adjust _timeout take _LOST_ZYGOTE unregister _look_into_nursery _converse _pass_time reap
_before_reaping ChildProcessError time monotonic KILL_LIMIT _pipe_size _lose_unborn WIFSIGNALED
WTERMSIG SIGKILL Died max_rss_bytes hasattr waitid P_ALL WEXITED WNOHANG WNOWAIT si_pid wait4 _gone
unsent POLLOUT modify bool _RESCAN max HELD_AFTER read min _READ _close_pipe Output Eof pop _kill
_said_its_last Held was_it ProcessLookupError PermissionError killpg sum fcntl F_GETPIPE_SZ silent
born _signal ru_maxrss listener control network stdin clear _descriptors popleft LIMIT Idle receive
isinstance Fork EOFError ControlError _decode _ended _READ_AT_ONCE _read_once ConnectionResetError
_incoming recv _CHUNK recvmsg _ANCILLARY _RECEIVE_FLAGS socket SOL_SOCKET SCM_RIGHTS array
frombytes itemsize set_inheritable extend MSG_CTRUNC size unpack_from MESSAGE_LIMIT _decoder decode
msgspec MsgspecError UnicodeDecodeError str _obey _write_with Room Shut items Signal End OwnKill
children kill psutil Process open split _children_by_parent sys modules get getattr preserve_fd
setsid dup2 entry adapt Transport Mailbox context install Context Examiner asked on_examine
adoption await_adoption Runtime _runtime atexit leave show_users_frames _node parent _work start
resume InitError explained SPARE_NAME restore fresh stdout __stdout__ _buffer_lines
forget_exit_handlers _handlers random setstate _random _start_timers seed _changed _set_handler
Handlers set_wakeup_fd _clear weakref finalize _registry _registered_with_atexit
_finalizer_registry _exitfunc logging shutdown _exit_function getpid os_pid security _make_lodge
_lodge Router key endpoint _router gate _gate keeper _gate_fd _control _control_fd _control_open
closed leaving failed _make_inlet Reactor _service _flush _next_timer reactor lock fd watch
_by_router peers spawns on_go on_settled undelivered _past set _ready _unflushed _flush_at memory
Memory Reserve _reserve _opening _timers _timer_count _behind deque _deferred register_at_fork
forking _forked constellation.transport.lodge Lodge tell _set_timer _endpoint _network _security
doorkeeper zmq _context _MAX_SOCKETS Socket _ROUTER super setsockopt ROUTING_ID ROUTER_MANDATORY
ROUTER_HANDOVER LINGER _LINGER_MS SNDHWM RCVHWM startswith _IPC _only_near _TCP_OPTIONS _monitor
monitor_fd _DISCONNECTED events _events at_once _watch _bind near_endpoint _dialled _reached
itertools count _counter getsockopt FD _left _receiving _lender _may_lend unsure notes_origin
origin _POLLIN _watched _send _receive _get _limit _TCP IPV6 secure_listener rpartition leave_plain
USE_FD detach bind _MAX_MESSAGE MAXMSGSIZE Lock Poller _inner Spinning wait _spinning _outer Wakeup
_lead_wakeup _io_wakeup add lead _sleeping suspended _armed _led_at _LEAD_GRACE _grace _loop_at
_left_at _more _io_due _stopping _put_off _started threading acquire RLock _lock _ATOMIC Entry raw
_is_owned held __exit__ epoll _epoll _wait _clock _LONG _average _paused_until _begun pipe
set_blocking pending EPOLLIN _transport Pool pool mapped _wanted due _trim_at _leaving _blocks
_ledger _ledger_fd _ledger_inode _look _places _holders __setattr__ Windows _windows _progress
_records _waiters _question _asked _full since Adopt parent_key Pid parent_endpoint Identity mem
cpu bytes KEY_SIZE ValueError _is_endpoint isprintable _ENDPOINT fullmatch removeprefix excepthook
__excepthook__ _excepthook functools partial _thread_excepthook run transport fail spawn current
image Coroutine asyncio SystemExit _code_of KeyboardInterrupt _show _name _collects gc enable
_profile callable setprofile _of_threads settrace _monitors _monitoring register_callback _trace
_mask _Acceptance inlet peer _STREAM object owner go _Closure block _start parts environment apply
load_call __init__ _accepted _waiter refuse release seals Link Peer sealed ended exit_known status
Watch idle_since Hello VERSION _hello _window _fragment _ack_delay _probe_after _outbound
_by_number _inbound _inbound_names _known _credits acks _ack_at _probe_at _probe_wait _asking
_reason _bye_due _bye happened _now reserve latest shared ALONE_AFTER _shared_at link route routes
down inlets outlets left ending_since last_arrival _holder lends offer_at ledger dialled_at cut_off
_wait_for_room STREAM Negotiation _memory name type codec reader over told _pickles _last guard
waiters _mailbox _refuse _attempt _block _value ConstellationError without_internals __cause__
_abandon _kind __class__ stream consumed weight acknowledge Message Deadline NEVER after _waits
wait_blocking TimeoutError _describe ThreadWaiter _get_ident listed _enlist _take_place _delist
_wait_leading notified _serve ident beneath close_gate insert _place_of _arm _hand_over look_again
_look_soon settle _pump _skip_rest arm at _LONGEST _lead_left _stays stay_at_exit _SHORT _MOMENT
_spin run_deferred _read_control _read_rest defer _serve_gate _drain _run_timers readable _BATCH
_take zmq_poll _NOBLOCK reclaim _SRCFD _ALONE _RCVMORE _COPY_BELOW buffer more arrive arrived
_take_any _meet _route_seen WireError WARNING DEBUG logger log hex _handle _DATA _decode_data
_decode_open Close _exactly _close _credit _GAP Credit Probe _probe _decode_bye struct error
discard route_up values new_route rewind sendable queue narrow Data _receive_record Open
_receive_credit probed last _unknown Greeted version Bye _receive_bye wire_events Arrived _dispatch
room Received received _settled Opened opened Closed released _greeted Left PLAIN_SIZE unpack_plain
PLAIN plain _open sequence Inbound _check_left _link _quarter _parts _arrived _asks _credited
_granted _weighed _large _gap number taken _out_of_order _told _HEADER_SIZE joined _data _INLINE
_MORE _JOINED _inline_parts _length _LARGE _borrow notify open_gate wake_lead remove _let_wait
set_timer transmit ACK_DELAY _send_frames _choose_route _cut_off next_frame Unroutable _route_ended
deadline popitem credit rotate queued delivered _encode_control INLINE_LIMIT join _HELLO _OPEN
_CLOSE gap _CREDIT granted _PROBE _BYE reason AssertionError _give_up _FIRST ZMQError errno
EHOSTUNREACH LENT_FROM _make_lender _SNDMORE heapq heappush leads Unable Ready _WATCH_AFTER _thread
start_new_thread _run RuntimeError EAGAIN _serve_until_stopped _do_put_off _leave_to_loops
Exception exception _RECENT _LONGEST_GRACE _LOOP_GRACE unpack wake _forget _REST_AFTER iter unwatch
refused _hear Exited _exited exit_status Go Placed placed Spawned spawned Refused Examine argv path
root unset whole _bound environb cwd chdir _rooted _ROOT Decoder Undecodable _image _decode_each
_DECODERS _decode_small unpack_large SerializationError undecodable _load needs_image _loads pickle
loads START_OF_ONE _explained lengths_of_small io BytesIO seek StopIteration UNDERSCORE _MAIN
_RECORDED rebound vars _main any _plain Typed type_name _type _cached TypeError _qualified types
GenericAlias _generic __origin__ __args__ Any typing TypeVar Ellipsis ParamSpec ForwardRef
__forward_arg__ __name__ __value__ get_origin get_args Annotated _UNIONS sorted Literal repr CODECS
check_remote Outlet raise_in_use _token remote_pid _outlet constellation.pid ChannelError _peer
Guard _guard _waiting _UNUSED _batched _calm _pace _flushed_at _IDLE _interval outbound receipts
_owned _entry _trial lease inside shut __enter__ Outbound _short _narrow _frames _sent _rewound
_offered pushed flight waiting wanting ANYBODY _encoder_of _refresh lend Encoder _chunks _buffers
_entries _placed _dirty _encode ImagePickler _Output _out_of_band _pickler dump _dump clear_memo
_clear_memo pack_small _pack _ENCODERS _append_encoded _nothing write PROTOCOL FunctionReducer
_functions touched _spawning _namespaces _MAX_NAME _MAX_CODEC _push _new _fresh_send _getframe
_sender _payload f_code _code f_lasti _lasti _Send put _await_room VALUE_WEIGHT let_in _consider
admit _put _ELSEWHERE _await_leaving _LEASES __context__ _restore _note _succeeds _overflow attempt
_send_batch _prepare_or_cut flush_later flushed _mend message _mark_sent dispatch push _MANY _BUSY
pack_large _small_one idle pack_plain _push_fragments cast forget close_deferred wake_io _closed
_NOTHING _values _fresh_recv _receiver _Recv _fail IndexError trim heappop _peer_due _lodge_due
_check_ending tick _await _rest update _PROBE_AT_MOST asks acknowledged give_back sent _allowed
widens narrows _advance LONG decode_one _blame _raise_closed matches ChannelTypeError missing
ProcessExited _LITTLE _release _shutdown _run_exitfuncs all stderr _FLUSH_FAILED die_of_interrupt
flush_c_streams report identity writers _failed linger print _find _before_init _subclasses _io
_IOBase get_objects _KINDS __module__ __mro__ __subclasses__ _earlier _layers id request_receipt
_Delivery overlooked filter send_byes float math isnan inf settled streams success stop ClosedLock
recv_multipart disable_monitor term _drop fflush _Spawn Resources _start_function _args _kwargs
RESOURCES_DEFAULT _resources _reset _make _request _pid _error _fresh Accept dump_call difference
prepare SpawnError _requests Spawn captures warn_if_large culprit uncallable reducer_override names
NotImplemented recorded__main__ FunctionType found function issubclass _class CellType reduce_cell
CodeType reduce_code _lru_cache_wrapper reduce_cached ModuleType importable cloudpickle
dynamic_subimport TextIOWrapper _is_plain_exception make_exception args WeakKeyDictionary
WeakValueDictionary cached_property func _MODULE_MACHINERY _MISSING _LIMIT _function _captured_data
sort _NAMED warnings warn call_name Mem human RuntimeWarning _callers_level _size globals_ref
environ _environ _between_nodes directory_identity directory working_directory _Difference dict
stat st_dev st_ino _count_opening _OPENING require _FOR_MONITOR dup monitor _MONITOR _PAIR connect
EVENTS _count _scale FLUSH_AFTER dial _far _UNHEARD to_bytes _nearest secure_connection
CONNECT_ROUTING_ID reach _wake hang_up in_use reversed looked iter_unpack _read_monitor
disconnected key_of_route _MOST_EVENTS _event see _EVENTS ExitStatus code lost core_dumped max_rss
cause _LONGEST_TEXT _parse _what _how _of _exact _counted numbers Real Rational Fraction numerator
denominator isfinite round _most TooMuch __new__ __post_init__ _is_signal_name _no_signal
_ENDING_QUIET _ENDING_QUIET_NO_ROUTE _ENDING_CHECK end disconnect sweep borrower free_since
_REMEMBERED unread __traceback__ tb_frame co_filename _PACKAGE tb_next with_traceback setblocking
msgpack bytearray devnull O_RDWR
"""
