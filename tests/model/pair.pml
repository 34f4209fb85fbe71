/* Two directors that decide by themselves (services/membership/heartbus_membership/rules.py,
 * ownership.py, detector.py), for one resource group. docs/model.md maps it to the code.
 *
 * One clock; a tick is a keepalive. A director that runs is prompt: what it must do within a tick it
 * has done before time goes on (OWES). Stops and cuts are faults of their own, so that the model can
 * tell what is promised with them from what is promised without. A stop takes membership and vip of
 * a host at once, which is the worst case: its address goes by its kernel lifetime alone. It comes
 * between two turns, so what a director has claimed it has also said.
 */

#ifndef STRICT
#define STRICT 0
#endif
#ifndef CUTS
#define CUTS 0          /* how often all links may be cut */
#endif
#ifndef STOPS
#define STOPS 0         /* how often a director may be paused, or killed and started again */
#endif
#ifndef EPOCHS
#define EPOCHS 5        /* no claim above this one: keeps the model finite */
#endif
#ifndef LEASE
#define LEASE 3         /* not above GRACE + DEADTIME - 2, Membership.lease_s */
#endif
#define DEADTIME 2
#define GRACE 3         /* restart_grace_s, where the bus shows that the host lives */
#define LIFETIME 1      /* of an address beyond its lease: EXPIRY_TAIL_S */
#ifdef BUS_SILENT
#define SILENCE DEADTIME
#else
#define SILENCE (DEADTIME + GRACE)
#endif
#if STRICT && !defined(MUTANT_STRICT_WITHOUT_TAIL)
#define WAIT (LEASE + LIFETIME)     /* KnownGroup.free_s, from the death on */
#else
#define WAIT 0
#endif
#define INITDEAD (LEASE + DEADTIME + STRICT * LIFETIME)  /* FailureDetector._initdead_s */
#define LONG 7          /* silence is not counted beyond it */
#ifndef BOUND
#define BOUND 0         /* both may have the address for so many ticks while the links are well */
#endif

bool held[2];           /* KnownGroup.phase is HELD */
byte epoch[2];          /* KnownGroup.epoch */
byte highest[2];        /* KnownGroup.highest */
byte lease[2];          /* rest of KnownGroup.lease_until_s */
byte address[2];        /* rest of the time for which the host may have the address */
byte silent[2];         /* since the other one was heard, or since our own stall */
byte wait[2];           /* rest of KnownGroup.free_s */
bool dead[2];           /* KnownPeer.status of the other one is DEAD */
bool seen[2];           /* KnownPeer.claim of the other one is HELD */
byte seen_epoch[2];
bool told[2];           /* has sent its heartbeat in this tick */
bool stopped[2];
bool woke[2];           /* View.woke_s, or not settled after a start */
bool unheard[2];        /* the other one was not heard since our start */
bool cut, was_cut;      /* now; at any moment of this tick */
byte stops, cuts, both;

#define OTHER(i) (1 - (i))
#define LESS(x) if :: x > 0 -> x-- :: else fi
#ifdef MUTANT_NOBODY_YIELDS
#define BEATS(i) false
#else
#define BEATS(i) (seen_epoch[i] > epoch[i] || (seen_epoch[i] == epoch[i] && i == 1))
#endif
#define MUST_YIELD(i) (held[i] && seen[i] && BEATS(i))
#ifdef MUTANT_RENEWS_BLINDLY
#define MUST_RENEW(i) (held[i] && !MUST_YIELD(i) && lease[i] < LEASE)
#else
#define MUST_RENEW(i) (held[i] && !woke[i] && !MUST_YIELD(i) && lease[i] < LEASE)
#endif
#define MUST_DROP(i) (address[i] > 0 && lease[i] == 0)
#define MUST_DECLARE(i) (!dead[i] && silent[i] >= (unheard[i] -> INITDEAD : SILENCE))
#define OWES(i) \
    (!stopped[i] && \
     (!told[i] || MUST_YIELD(i) || MUST_RENEW(i) || MUST_DROP(i) || MUST_DECLARE(i)))
#ifdef MUTANT_CLAIMS_UNHEARD
#define MAY_CLAIM(i) (!stopped[i] && !held[i] && !seen[i] && highest[i] < EPOCHS)
#else
#define MAY_CLAIM(i) \
    (!stopped[i] && !held[i] && !woke[i] && wait[i] == 0 && highest[i] < EPOCHS && \
     (dead[i] || !seen[i] && i == 0))
#endif

/* rules._while_vacant: the preferred director, or one whose peer is dead */
inline claim(i) {
    printf("%d holds, epoch %d\n", i, highest[i] + 1);
    highest[i]++; epoch[i] = highest[i]; held[i] = 1; lease[i] = LEASE;
    address[i] = LEASE + LIFETIME; told[i] = 0
}

/* rules._while_held, the end of a conflict; its vip releases at once */
inline yields(i) {
    printf("%d yields to epoch %d\n", i, seen_epoch[i]);
    held[i] = 0; epoch[i] = 0; lease[i] = 0; address[i] = 0; told[i] = 0
}

inline beat(i) {
    printf("%d says: held %d, epoch %d\n", i, held[i], epoch[i]);
    told[i] = 1;
    if
    :: !cut && !stopped[OTHER(i)] ->
        silent[OTHER(i)] = 0; dead[OTHER(i)] = 0; woke[OTHER(i)] = 0;
        unheard[OTHER(i)] = 0;
        seen[OTHER(i)] = held[i]; seen_epoch[OTHER(i)] = epoch[i];
        if
        :: highest[i] > highest[OTHER(i)] -> highest[OTHER(i)] = highest[i]
        :: else
        fi
    :: else
    fi
}

/* detector._dead, ownership._vacate; after a stall the silence makes us sure as well */
inline declare(i) {
    printf("%d: the other one is dead\n", i);
    dead[i] = 1; woke[i] = 0;
    wait[i] = (seen[i] -> WAIT : 0);
    seen[i] = 0; seen_epoch[i] = 0
}

inline resume(i, killed) {
    printf("%d runs again, was killed: %d\n", i, killed);
    stopped[i] = 0; woke[i] = 1; silent[i] = 0; dead[i] = 0; told[i] = 0;
    if
    :: killed ->
        seen[i] = 0; seen_epoch[i] = 0; unheard[i] = 1;
        if :: lease[i] == 0 -> held[i] = 0; epoch[i] = 0 :: else fi
    :: else
    fi
}

inline tick(i) {
    LESS(lease[i]); LESS(address[i]); LESS(wait[i]);
    if :: silent[i] < LONG -> silent[i]++ :: else fi;
    told[i] = 0
}

#define DIRECTOR(i) \
    :: d_step { !stopped[i] && !told[i] -> beat(i) } \
    :: d_step { !stopped[i] && MUST_YIELD(i) -> yields(i) } \
    :: d_step { !stopped[i] && MUST_RENEW(i) -> lease[i] = LEASE; address[i] = LEASE + LIFETIME } \
    :: d_step { !stopped[i] && MUST_DROP(i) -> address[i] = 0 } \
    :: d_step { !stopped[i] && MUST_DECLARE(i) -> declare(i) } \
    :: d_step { MAY_CLAIM(i) -> claim(i) } \
    :: d_step { stops < STOPS && !stopped[i] && !OWES(i) -> printf("%d stops\n", i); stops++; stopped[i] = 1 } \
    :: d_step { stopped[i] -> resume(i, 0) } \
    :: d_step { stopped[i] -> resume(i, 1) }

init {
    d_step { woke[0] = 1; woke[1] = 1; unheard[0] = 1; unheard[1] = 1 }
end:
    do
    DIRECTOR(0) DIRECTOR(1)
    :: d_step { cuts < CUTS && !cut -> printf("cut\n"); cuts++; cut = 1; was_cut = 1 }
    :: d_step { cut -> printf("healed\n"); cut = 0 }
    :: d_step {
        !OWES(0) && !OWES(1) ->
        printf("time passes\n");
        if
        :: address[0] > 0 && address[1] > 0 && !was_cut -> both++; assert(both <= BOUND)
        :: else -> both = 0
        fi;
        was_cut = cut;
        tick(0); tick(1)
       }
    od
}
