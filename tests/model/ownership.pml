/* Leases by a majority (services/membership/heartbus_membership/votes.py, ballot.py, rules.py), for
 * one resource group. docs/model.md says what each name stands for in the code.
 *
 * Every step may be taken at any moment or never: so a pause, a stall, a lost and a late message are
 * in the model without a word about them. Time is counted in ticks, by each node for itself. A
 * moment in the past is kept as its age in ticks of the node whose clock measured it.
 *
 * Nodes 0 .. DIRECTORS-1 may hold the group, the other ones are witnesses.
 */

#ifndef VOTERS
#define VOTERS 3
#endif
#ifndef DIRECTORS
#define DIRECTORS 2
#endif
#ifndef DRIFT
#define DRIFT 0         /* by so many ticks one clock may be ahead of another, 0 or 1 */
#endif
#ifndef LEASE
#define LEASE 2
#endif
#ifndef TAIL
#define TAIL 0          /* an address may outlive its lease by so much (strict takeover) */
#endif
#ifndef EPOCHS
#define EPOCHS 2        /* claims are made up to this epoch, then no more: keeps the model finite */
#endif
#ifndef RESTARTS
#define RESTARTS 0      /* of processes, all nodes together; the disk is kept */
#endif
#ifndef LOSSES
#define LOSSES 0        /* restarts that lose the disk; the addresses stay */
#endif
#ifndef FLIGHTS
#define FLIGHTS 1       /* heartbeats under way at once; any other one arrives at once or never */
#endif
#ifndef HANDOVERS
#define HANDOVERS 1     /* 0: nobody hands over */
#endif

#ifdef MUTANT_NO_DRIFT_MARGIN
#define PROMISE (LEASE + TAIL)
#else
#define PROMISE (LEASE + TAIL + 2 * DRIFT)  /* one tick apart at its start, one at its end */
#endif
#define NEEDED (VOTERS / 2)                 /* votes besides our own: Support._needed */

#define NOBODY VOTERS
#define FOR_EVER 255
#define PAIRS (VOTERS * VOTERS)
#define P(from, to) ((from) * VOTERS + (to))

#define NONE 0
#define ASKING 1
#define HELD 2
#define RELEASING 3

/* --- one node ------------------------------------------------------------------------------ */
byte phase[VOTERS];         /* KnownGroup.phase */
byte epoch[VOTERS];         /* KnownGroup.epoch */
byte supported[VOTERS];     /* highest epoch of a claim that it supported, on disk */
byte supported_by[VOTERS];  /* and whose claim that was */
byte incarnation[VOTERS];
byte lease[VOTERS];         /* rest of KnownGroup.lease_until_s */
byte address[VOTERS];       /* rest of the time for which the host may have the address */
byte vote[VOTERS];          /* _Promise.vote.candidate */
byte vote_of[VOTERS];       /* _Promise.vote.incarnation */
byte promise[VOTERS];       /* rest of _Promise.until_s */
byte abstains[VOTERS];      /* rest of Voter._bound_until_s */
byte disk[VOTERS];          /* Remembered.votes */
byte disk_of[VOTERS];
byte disk_epoch[VOTERS];    /* supported, as it is on the disk */
byte disk_by[VOTERS];
bool unheard[VOTERS];       /* not _Promise.heard: kept from an earlier process, not said */
byte ahead[VOTERS];         /* ticks before the slowest clock */

/* --- heartbeats that are late; of each sender for each receiver one -------------------------- */
bool late[FLIGHTS];
byte late_from[FLIGHTS], late_to[FLIGHTS];
byte late_phase[FLIGHTS], late_epoch[FLIGHTS];
byte late_of[FLIGHTS];      /* incarnation of the sender */
bool late_vote[FLIGHTS];    /* the sender supports the receiver */
byte late_echo[FLIGHTS];    /* age of the receiver's heartbeat that the sender had heard */
bool late_knows[FLIGHTS];   /* that echo is of the present process of the receiver */
byte late_age[FLIGHTS];
bool overtaken[FLIGHTS];    /* the receiver has heard a newer one */

/* --- what the first one of a pair knows of the second ------------------------------------------ */
byte heard_age[PAIRS];      /* age of the newest heartbeat that it heard */
bool knows[PAIRS];          /* it has heard the present process */
byte sure[PAIRS];           /* rest of the lease that the second one's vote gives */

byte last_epoch;            /* of the newest lease granted */
byte restarts, losses;
byte k, f, a, b, c;
#ifdef LIVENESS
byte round, best;
#endif

#define LESS(x) if :: x > 0 -> x-- :: else fi
#define OLDER(x) if :: x < LEASE -> x++ :: else fi
#define FREE(i, whom) \
    (abstains[i] == 0 && (vote[i] == NOBODY || vote[i] == whom))
/* A voter never goes back to an epoch below one that it supported. */
#ifdef MUTANT_EPOCH_NOT_KEPT
#define NOT_OUTBID(j, i, its_epoch) true
#else
#define NOT_OUTBID(j, i, its_epoch) \
    (its_epoch > supported[j] || (its_epoch == supported[j] && supported_by[j] == i))
#endif
#define COUNTS(i) (phase[i] == ASKING || phase[i] == HELD)   /* votes matter to it */
#define SAYS(i, j) (vote[i] == j && !unheard[i])            /* its heartbeat says so */
#define IS_DIRECTOR(i) ((i) < DIRECTORS)

inline forget_promise(i) { vote[i] = NOBODY; vote_of[i] = 0; promise[i] = 0; unheard[i] = 0 }

inline arrived(m) {
    late[m] = 0; late_from[m] = 0; late_to[m] = 0; late_phase[m] = 0; late_epoch[m] = 0;
    late_of[m] = 0; late_vote[m] = 0; late_echo[m] = LEASE; late_knows[m] = 0;
    late_age[m] = LEASE; overtaken[m] = 0
}

/* Support.claim_begins: nothing that was said before counts; a restart has the same effect. */
inline heartbeats_void(i) {
    k = 0;
    do
    :: k < VOTERS -> heard_age[P(k, i)] = LEASE; sure[P(i, k)] = 0; k++
    :: else -> break
    od;
    f = 0;
    do
    :: f < FLIGHTS ->
        if :: late[f] && late_from[f] == i -> late_age[f] = LEASE :: else fi;
        if :: late[f] && late_to[f] == i -> late_echo[f] = LEASE :: else fi;
        f++
    :: else -> break
    od;
    f = 0; k = 0
}

/* Support.until_s: the NEEDED-th longest of what the votes of the others give. */
inline majority(i) {
    a = 0; b = 0; k = 0;
    do
    :: k < VOTERS ->
        if
        :: k != i && sure[P(i, k)] > a -> b = a; a = sure[P(i, k)]
        :: k != i && sure[P(i, k)] <= a && sure[P(i, k)] > b -> b = sure[P(i, k)]
        :: else
        fi;
        k++
    :: else -> break
    od;
    c = (NEEDED == 1 -> a : b);
    a = 0; b = 0; k = 0
}

inline nobody_else_has_it(i) {
    k = 0;
    do
    :: k < VOTERS -> assert(k == i || address[k] == 0); k++
    :: else -> break
    od;
    k = 0
}

inline tick(i) {
    printf("time passes at %d\n", i);
    LESS(lease[i]); LESS(address[i]); LESS(abstains[i]);
    if
    :: promise[i] > 0 && promise[i] != FOR_EVER ->
        promise[i]--;
        if :: promise[i] == 0 -> forget_promise(i) :: else fi
    :: else
    fi;
    k = 0;
    do
    :: k < VOTERS ->
        LESS(sure[P(i, k)]);
        OLDER(heard_age[P(k, i)]);
        k++
    :: else -> break
    od;
    f = 0;
    do
    :: f < FLIGHTS ->
        if :: late[f] && late_from[f] == i -> OLDER(late_age[f]) :: else fi;
        if :: late[f] && late_to[f] == i -> OLDER(late_echo[f]) :: else fi;
        f++
    :: else -> break
    od;
    f = 0; k = 0
}

inline everybody_ticked() {
    k = 0; a = 1;
    do
    :: k < VOTERS -> a = (a == 1 && ahead[k] > 0 -> 1 : 0); k++
    :: else -> break
    od;
    k = 0;
    do
    :: a == 1 && k < VOTERS -> ahead[k]--; k++
    :: else -> break
    od;
    a = 0; k = 0
}

/* MembershipService._write_votes: the vote is on disk before it is said. */
inline write_vote(i) {
#ifdef MUTANT_FORGETFUL_VOTER
    skip
#else
    if
    :: restarts < RESTARTS -> disk[i] = vote[i]; disk_of[i] = vote_of[i];
        disk_epoch[i] = supported[i]; disk_by[i] = supported_by[i]
    :: else
    fi
#endif
}

/* MembershipService._send_heartbeat, to somebody whom it reaches late. */
inline send_late(i, j, m) {
    printf("%d sends %d, late: phase %d epoch %d, vote for it %d\n", i, j, phase[i], epoch[i], SAYS(i, j));
    write_vote(i);
    late[m] = 1; late_from[m] = i; late_to[m] = j;
    late_phase[m] = phase[i]; late_epoch[m] = epoch[i]; late_of[m] = incarnation[i];
    late_vote[m] = (IS_DIRECTOR(j) && SAYS(i, j) -> 1 : 0);
    late_echo[m] = (late_vote[m] -> heard_age[P(i, j)] : LEASE);
    late_knows[m] = knows[P(i, j)];
    late_age[m] = (COUNTS(i) -> 0 : LEASE)
}

/* Voter.support */
inline support(j, i, its_epoch, inc) {
    printf("%d supports %d\n", j, i);
    vote[j] = i; vote_of[j] = inc; unheard[j] = 0; supported[j] = its_epoch; supported_by[j] = i;
#ifdef MUTANT_NO_PROMISE
    promise[j] = 1;
#elif defined(MUTANT_READS_THE_CLOCK_FIRST)
    promise[j] = PROMISE - 1;   /* a tick went by between the clock and the sockets */
#else
    promise[j] = PROMISE;
#endif
}

inline withdraw(i) {
    printf("%d withdraws\n", i);
    phase[i] = NONE; epoch[i] = 0; forget_promise(i); heartbeats_void(i)
}

/* Voter.heard, for a claim of i that j hears */
inline claim_heard(j, i, its_phase, its_epoch, inc, knows_us) {
    if
    :: its_phase != NONE && FREE(j, i) && promise[j] != FOR_EVER && NOT_OUTBID(j, i, its_epoch) ->
        support(j, i, its_epoch, inc)
#ifdef MUTANT_FREE_ON_NEW_INCARNATION
    :: its_phase == NONE && vote[j] == i -> forget_promise(j)
#else
#ifdef MUTANT_STALE_NONE
    :: its_phase == NONE && vote[j] == i && vote_of[j] == inc -> forget_promise(j)
#else
    :: its_phase == NONE && vote[j] == i && vote_of[j] == inc && knows_us -> forget_promise(j)
#endif
#endif
    :: else
    fi
}

inline vote_heard(j, i, echo, knows_us) {
#ifdef MUTANT_LEASE_FROM_RECEIPT
    if
    :: knows_us && COUNTS(j) -> sure[P(j, i)] = LEASE
#else
    if
    :: COUNTS(j) && LEASE - echo > sure[P(j, i)] ->
        sure[P(j, i)] = LEASE - echo
#endif
    :: else
    fi
}

/* A heartbeat of i reaches j at once. */
inline tell(i, j) {
    printf("%d tells %d: phase %d epoch %d, vote for it %d\n", i, j, phase[i], epoch[i], SAYS(i, j));
    write_vote(i);
    heard_age[P(j, i)] = (COUNTS(i) -> 0 : LEASE); knows[P(j, i)] = 1;
    f = 0;
    do
    :: f < FLIGHTS ->
        if
        :: late[f] && late_from[f] == i && late_to[f] == j -> overtaken[f] = 1
        :: else
        fi;
        f++
    :: else -> break
    od;
    f = 0;
    if
    :: SAYS(i, j) -> vote_heard(j, i, heard_age[P(i, j)], knows[P(i, j)])
    :: else
    fi;
    if
    :: IS_DIRECTOR(i) -> claim_heard(j, i, phase[i], epoch[i], incarnation[i], knows[P(i, j)])
    :: else
    fi
}

inline tell_late(m) {
    printf("late, %d tells %d: phase %d epoch %d, vote for it %d\n", late_from[m], late_to[m], late_phase[m], late_epoch[m], late_vote[m]);
    heard_age[P(late_to[m], late_from[m])] = late_age[m];
    if
    :: late_of[m] == incarnation[late_from[m]] -> knows[P(late_to[m], late_from[m])] = 1
    :: else
    fi;
    if
    :: late_vote[m] -> vote_heard(late_to[m], late_from[m], late_echo[m], late_knows[m])
    :: else
    fi;
    if
    :: IS_DIRECTOR(late_from[m]) ->
        claim_heard(late_to[m], late_from[m], late_phase[m], late_epoch[m], late_of[m],
            late_knows[m])
    :: else
    fi;
    arrived(m)
}

inline ask(i, its_epoch) {
    printf("%d asks, epoch %d\n", i, its_epoch);
    phase[i] = ASKING;
    epoch[i] = its_epoch; supported[i] = its_epoch; supported_by[i] = i;
    vote[i] = i; vote_of[i] = incarnation[i]; promise[i] = FOR_EVER;
    heartbeats_void(i); k = 0
}

inline granted(i) {
    printf("%d holds, epoch %d, lease %d\n", i, epoch[i], c);
    phase[i] = HELD;
    lease[i] = c; address[i] = c + TAIL;
    nobody_else_has_it(i);
#if LOSSES == 0
    assert(epoch[i] > last_epoch);
    last_epoch = epoch[i];
#endif
}

inline renewed(i) {
    printf("%d renews to %d\n", i, c);
    lease[i] = c; address[i] = c + TAIL;
    nobody_else_has_it(i);
#if LOSSES == 0
    assert(epoch[i] == last_epoch)
#endif
}

inline claim_ends(i) {
    printf("%d ends its claim\n", i);
    phase[i] = NONE; epoch[i] = 0; lease[i] = 0; heartbeats_void(i); forget_promise(i)
}

inline lapse(i) {
    printf("%d: the lease has ended\n", i);
#ifdef MUTANT_LAPSE_FREES_TAIL
    phase[i] = NONE; epoch[i] = 0; heartbeats_void(i);
    promise[i] = address[i];
    if :: address[i] == 0 -> forget_promise(i) :: else fi
#else
    phase[i] = RELEASING; heartbeats_void(i)
#endif
}

inline new_process(i) {
    incarnation[i]++;
    heartbeats_void(i);
    k = 0;
    do
    :: k < VOTERS ->
        knows[P(i, k)] = 0; knows[P(k, i)] = 0;
        heard_age[P(i, k)] = LEASE; k++
    :: else -> break
    od;
    f = 0;
    do
    :: f < FLIGHTS ->
        /* its replay guard is empty: what was overtaken is news */
        if :: late[f] && late_to[f] == i -> late_knows[f] = 0; overtaken[f] = 0 :: else fi;
        f++
    :: else -> break
    od;
    f = 0; k = 0
}

/* The lease file keeps what is held, the state file whom we support. */
inline restart(i) {
    printf("%d restarts\n", i);
    new_process(i);
    if
    :: phase[i] == HELD && lease[i] > 0 ->
        vote[i] = i; vote_of[i] = incarnation[i]; promise[i] = FOR_EVER
    :: else ->
        phase[i] = NONE; epoch[i] = 0; lease[i] = 0;
        vote[i] = disk[i]; vote_of[i] = disk_of[i]; promise[i] = PROMISE; unheard[i] = 1;
        supported[i] = disk_epoch[i]; supported_by[i] = disk_by[i];
        if
        :: disk[i] == NOBODY -> forget_promise(i)
#ifndef MUTANT_ASK_OVER_AN_UNKNOWN_LEASE
        :: disk[i] == i -> forget_promise(i); abstains[i] = PROMISE
#endif
        :: else
        fi;
#ifdef MUTANT_FORGETS_THAT_IT_FORGOT
        if :: abstains[i] > 0 && disk[i] == NOBODY -> abstains[i] = 0 :: else fi
#else
        if :: abstains[i] > 0 -> abstains[i] = PROMISE :: else fi
#endif
    fi
}

/* Nobody will read them any more: fewer states. */
inline no_disks() {
    k = 0;
    do
    :: restarts == RESTARTS && k < VOTERS -> disk[k] = NOBODY; disk_of[k] = 0;
        disk_epoch[k] = 0; disk_by[k] = NOBODY; k++
    :: else -> break
    od;
    k = 0
}

inline restart_without_disk(i) {
    printf("%d restarts and has lost its disk\n", i);
    new_process(i);
    phase[i] = NONE; epoch[i] = 0; lease[i] = 0; supported[i] = 0; supported_by[i] = NOBODY;
    forget_promise(i); disk[i] = NOBODY; disk_of[i] = 0;
    disk_epoch[i] = 0; disk_by[i] = NOBODY;
#ifndef MUTANT_VOTES_WITHOUT_DISK
    abstains[i] = PROMISE
#endif
}

/* --- steps --------------------------------------------------------------------------------- */

#if DRIFT > 0
#define TIME(i) \
    :: d_step { ahead[i] < DRIFT -> ahead[i]++; tick(i); everybody_ticked() }
#else
#define TIME(i)
#endif

/* Any other heartbeat would change nothing. */
#define WORTH_SAYING(i, j) \
    (phase[i] != NONE || SAYS(i, j) || vote[j] == i || !knows[P(j, i)])
#define WORTH_KEEPING(i, j) \
    (phase[i] != NONE || SAYS(i, j) || (IS_DIRECTOR(i) && restarts < RESTARTS) || vote[j] == i)
#define LATE(i, j, m) \
    :: d_step { !late[m] && WORTH_KEEPING(i, j) && !UNDER_WAY(i, j) -> send_late(i, j, m) }

#if FLIGHTS > 1
#define UNDER_WAY(i, j) \
    ((late[0] && late_from[0] == i && late_to[0] == j) || \
     (late[1] && late_from[1] == i && late_to[1] == j))
#define FLIGHT(i, j) LATE(i, j, 0) LATE(i, j, 1)
#else
#define UNDER_WAY(i, j) false
#define FLIGHT(i, j) LATE(i, j, 0)
#endif

#ifdef PROMPT            /* every heartbeat arrives at once or never */
#undef FLIGHT
#define FLIGHT(i, j)
#endif

#define LINK(i, j) \
    :: d_step { WORTH_SAYING(i, j) -> tell(i, j) } \
    FLIGHT(i, j)

#define ARRIVAL(m) \
    :: d_step { late[m] && !overtaken[m] -> tell_late(m) } \
    :: d_step { late[m] -> arrived(m) }   /* or is lost */

#define VOTER(i) \
    TIME(i) \
    :: d_step { restarts < RESTARTS -> restarts++; restart(i); no_disks() } \
    :: d_step { losses < LOSSES -> losses++; restart_without_disk(i) }

#define ASK(i, its_epoch) \
    :: d_step { its_epoch <= EPOCHS && phase[i] == NONE && FREE(i, i) && \
        its_epoch > supported[i] -> ask(i, its_epoch) }

#define DIRECTOR(i) \
    ASK(i, 1) ASK(i, 2) ASK(i, 3) \
    :: d_step { phase[i] == ASKING -> withdraw(i) } \
    :: d_step { phase[i] == ASKING -> majority(i); \
        if :: c > 0 -> granted(i) :: else fi; c = 0 } \
    :: d_step { phase[i] == HELD -> majority(i); \
        if :: c > lease[i] -> renewed(i) :: else fi; c = 0 } \
    :: d_step { phase[i] == HELD && lease[i] == 0 -> lapse(i) } \
    :: d_step { HANDOVERS && phase[i] == HELD -> printf("%d hands over\n", i); phase[i] = RELEASING; heartbeats_void(i) } \
    :: d_step { phase[i] == RELEASING && address[i] > 0 -> printf("%d: vip has released\n", i); address[i] = 0; lease[i] = 0 } \
    :: d_step { phase[i] == RELEASING && address[i] == 0 -> claim_ends(i) }

/* --- from here on all is well: somebody holds in the end ------------------------------------- */

#define ROUNDS (2 * PROMISE + 4)
#if VOTERS > 3
#define THIRD 3
#else
#define THIRD 2
#endif

#ifdef MUTANT_KEEPS_ASKING_TOO_LOW
#define TOO_LOW(i) false
#else
#define TOO_LOW(i) (epoch[i] <= best)
#endif

/* rules._while_asking and the like, of one whose turn it is; any other one withdraws */
inline decide(i, turn) {
    if
    :: phase[i] == HELD && lease[i] == 0 -> lapse(i)
    :: else
    fi;
    if
    :: phase[i] == RELEASING -> address[i] = 0; claim_ends(i)
    :: else
    fi;
    if
    :: phase[i] == ASKING || phase[i] == HELD ->
        majority(i);
        if
        :: phase[i] == HELD && c > lease[i] -> lease[i] = c; address[i] = c + TAIL
        :: phase[i] == ASKING && c > 0 ->
            phase[i] = HELD; lease[i] = c; address[i] = c + TAIL
        :: phase[i] == ASKING && c == 0 && (!turn || TOO_LOW(i)) -> withdraw(i)
        :: else
        fi;
        c = 0
    :: else
    fi;
    if
    :: turn && phase[i] == NONE && FREE(i, i) ->
            if :: supported[i] > best -> best = supported[i] :: else fi;
            ask(i, best + 1)
    :: else
    fi
}

/* best: what a claim of i must be above, as far as j knows of others */
inline outbid_by(i, j) {
    if
    :: supported[j] > best &&
       (supported[j] > epoch[i] || (supported[j] == epoch[i] && supported_by[j] != i)) ->
        best = supported[j]
    :: else
    fi
}

/* x and y are up and hear each other (of four voters, the fourth one as well); whoever else there
 * is, is down for ever. x is the one whose turn it is. */
inline all_is_well(x, y) {
    printf("from here on %d and %d are well\n", x, y);
    best = 0; round = 0;
    do
    :: round < ROUNDS ->
        a = 0;
        do
        :: a < VOTERS -> b = a; tick(b); a++
        :: else -> break
        od;
        a = 0; b = 0;
        decide(x, 1);
        if :: IS_DIRECTOR(y) -> decide(y, 0) :: else fi;
        tell(x, y); tell(y, x);
        outbid_by(x, y); outbid_by(x, x);
#if VOTERS > 3
        tell(x, THIRD); tell(THIRD, x); outbid_by(x, THIRD);
        if :: IS_DIRECTOR(y) -> tell(y, THIRD); tell(THIRD, y) :: else fi;
#endif
        round++
    :: else -> break
    od;
    decide(x, 1);
    assert((phase[x] == HELD && lease[x] > 0) || (phase[y] == HELD && lease[y] > 0));
    round = 0; best = 0
}

init {
    d_step {
        a = 0;
        do
        :: a < VOTERS -> vote[a] = NOBODY; disk[a] = NOBODY; supported_by[a] = NOBODY;
            disk_by[a] = NOBODY; a++
        :: else -> break
        od;
        a = 0;
        do
        :: a < PAIRS -> heard_age[a] = LEASE; knows[a] = 1; a++
        :: else -> break
        od;
        a = 0;
        do
        :: a < FLIGHTS -> arrived(a); a++
        :: else -> break
        od;
        a = 0
    }
end:
    do
#if DRIFT == 0
    :: d_step {
        b = 0;
        do
        :: b < VOTERS -> tick(b); b++
        :: else -> break
        od;
        b = 0
       }
#endif
    VOTER(0) VOTER(1) VOTER(2)
    LINK(0, 1) LINK(0, 2) LINK(1, 0) LINK(1, 2) LINK(2, 0) LINK(2, 1)
    DIRECTOR(0) DIRECTOR(1)
#if DIRECTORS > 2
    DIRECTOR(2)
#endif
#if VOTERS > 3
    VOTER(3) LINK(0, 3) LINK(1, 3) LINK(3, 0) LINK(3, 1)
#if DIRECTORS > 2
    LINK(2, 3) LINK(3, 2)
#endif
#endif
    ARRIVAL(0)
#if FLIGHTS > 1
    ARRIVAL(1)
#endif
#ifdef LIVENESS
    :: d_step { all_is_well(0, 1) } -> break
    :: d_step { all_is_well(1, 0) } -> break
#if VOTERS == 3
    :: d_step { all_is_well(0, 2) } -> break
    :: d_step { all_is_well(1, 2) } -> break
#endif
#endif
    od
}
