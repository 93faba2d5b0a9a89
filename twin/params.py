"""Every number of the physics that is not measured, with its source. "Assumed" marks a number that has none.

An asset's own attributes (``rated_w``, ``no_load_loss_frac``, ``linear_loss_frac``, ``square_loss_frac``) win over these.
``rated_w`` is electrical design power whatever the kind. ``dataclasses.replace`` makes variants.
"""

from dataclasses import dataclass, field

from twin.learned import Learned


@dataclass(frozen=True, slots=True)
class Stage:
    """One conversion stage of a node's supply: P_in = (P_out + ``constant_w``) / ``efficiency_frac``."""

    constant_w: float
    efficiency_frac: float


@dataclass(frozen=True, slots=True)
class NodeParams:
    """A node whose assets have no ``rated_w``. Defaults: an eight-GPU server of the H100 class.

    - ``gpu_w``: 700, NVIDIA H100 SXM. ``gpu_idle_frac``: Frontier, 88 of 560 W (RAPS).
    - ``cpu_full_w``: two processors of 350 W; ``cpu_idle_w``: Frontier's 90/280 of it.
    - ``memory_w``, ``nic_w`` (each; one a GPU, at least one), ``storage_w``, ``other_w`` (NVSwitches, board, fans): assumed.
      With them a node draws 7.6 kW in full, inside the 6.5-8.5 kW reported as typical of a DGX H100 (10.2 kW at most).
    - ``cpu_util_frac``: of a node whose processors say nothing; assumed.
    - ``stages``: one supply of 94 % (typical 94-96 %) that draws 20 W for itself; assumed.
    - ``rest_idle_frac``, ``rest_full_frac``: what a node draws beside its GPUs with idle and with busy processors, over what
      its rating (or the numbers above) leave for that; None: idle as the numbers above have it. Calibration finds them;
      ``plate_stages``: the supply as it was when it did, by which ratings go on to be divided (empty: ``stages``).
    """

    gpu_w: float = 700.0
    gpu_idle_frac: float = 88 / 560
    cpu_idle_w: float = 225.0
    cpu_full_w: float = 700.0
    memory_w: float = 150.0
    nic_w: float = 25.0
    storage_w: float = 80.0
    other_w: float = 400.0
    cpu_util_frac: float = 0.3
    stages: tuple[Stage, ...] = (Stage(20.0, 0.94),)
    rest_idle_frac: float | None = None
    rest_full_frac: float = 1.0
    plate_stages: tuple[Stage, ...] = ()


# ExaDigiT/RAPS, system configuration "frontier": each node has a converter (SIVOC) of 13 W and 0.98; a rectifier of 17 W and
# 0.96 serves four nodes.
FRONTIER_NODE = NodeParams(
    gpu_w=560.0,
    gpu_idle_frac=88 / 560,
    cpu_idle_w=90.0,
    cpu_full_w=280.0,
    memory_w=74.26,
    nic_w=20.0,
    storage_w=30.0,
    other_w=0.0,
    stages=(Stage(13.0, 0.98), Stage(17.0 / 4, 0.96)),
)


@dataclass(frozen=True, slots=True)
class LossCurve:
    """Loss over rating at load x: ``no_load_frac`` + ``linear_frac`` · x + ``square_frac`` · x² (``twin.physics.chain``)."""

    no_load_frac: float
    linear_frac: float
    square_frac: float


@dataclass(frozen=True, slots=True)
class ChainParams:
    """Power devices whose assets give no curve. The sums lie in the typical range; how they are split is assumed.

    - ``transformer``: 98.9 % at half load (typical 98-99 %).
    - ``ups``: 95.7 % at half and 96.6 % at full load (typical 94-97 %); 43 % of its full-load loss is no-load ("can
      represent over 40 % of all UPS losses", Schneider Electric White Paper 108).
    - ``pdu``: 98.8 % at half load (typical 98-99 %).
    - ``unrated_load_frac``: load at which a device of unknown rating is taken to run; assumed.
    - ``fitted``: kinds whose curve was calibrated; it then wins over the nameplates of the assets. ``pdu_ratio``: losses of
      PDUs over their curve, where they could only be told from the difference of meters.
    """

    transformer: LossCurve = LossCurve(0.003, 0.0, 0.010)
    ups: LossCurve = LossCurve(0.015, 0.010, 0.010)
    pdu: LossCurve = LossCurve(0.004, 0.0, 0.009)
    unrated_load_frac: float = 0.5
    fitted: tuple[str, ...] = ()
    pdu_ratio: float = 1.0


@dataclass(frozen=True, slots=True)
class PlantParams:
    """Cooling; power shares are of the heat carried at design.

    - ``liquid_frac``: of the heat of a rack with a CDU; GB300 NVL72, about 110 of 142-155 kW.
    - ``cdu_pump_frac``: 1,517 W for 132 kW (1.5 L/min/kW, OCP; 40 psi; 60 % efficiency). ``cdu_speed_frac``: of pumps that say
      nothing, and at which design flow passes; assumed. ``air_fan_frac``: air handlers; assumed.
    - ``supply_c``: to racks, where no CDU says; the middle of 25-35 °C. ``chilled_c``: facility water without CDUs; assumed.
    - ``range_k``: OCP, ΔT of 10 K or less at 1.5 L/min/kW. ``cdu_ntu`` (2 K of approach at design), ``exchanger_k``: assumed.
    - ``pump_frac``: assumed; ASHRAE 90.1 appendix G (22 + 19 W/gpm) is 0.016 at 10 K, warm-water loops have less to pass.
      ``least_pump_speed_frac``: assumed.
    - ``fan_base_frac``, ``fan_full_frac``: power of a fan at no and at full speed, over its rating. 0 and 1 until calibrated.
    - ``tower_fan_frac``: 40.2 gpm/hp at 95/85/75 °F, ASHRAE 90.1 table 6.8.1-7. ``dry_fan_frac``, ``dry_approach_k``: assumed.
    - ``fan_exponent``: assumed, between the ceiling of ASHRAE 90.1-2016 6.5.5.2.1 (1.74) and the cube.
    - ``carnot_frac``: COP 6.3 (ASHRAE 90.1, large centrifugal, 0.56 kW/ton) at 6.7 °C leaving and 35 °C condenser water.
      ``chiller_cop``: turns a chiller's ``rated_w`` into capacity; assumed.
    - ``wet_bulb_c``, ``dry_bulb_c``: where the weather is silent; assumed, and what rests on them is marked suspect.
    """

    liquid_frac: float = 0.74
    cdu_pump_frac: float = 0.0115
    cdu_speed_frac: float = 0.8
    air_fan_frac: float = 0.04
    supply_c: float = 30.0
    chilled_c: float = 18.0
    range_k: float = 10.0
    cdu_ntu: float = 5.0
    exchanger_k: float = 2.0
    pump_frac: float = 0.012
    least_pump_speed_frac: float = 0.4
    fan_base_frac: float = 0.0
    fan_full_frac: float = 1.0
    tower_fan_frac: float = 0.0127
    dry_fan_frac: float = 0.025
    dry_approach_k: float = 6.0
    fan_exponent: float = 2.6
    carnot_frac: float = 0.63
    chiller_cop: float = 6.0
    wet_bulb_c: float = 15.0
    dry_bulb_c: float = 20.0

    @property
    def cdu_rated_frac(self) -> float:
        """Power of a CDU's pumps at full speed over the heat at design: design flow passes at ``cdu_speed_frac`` and power goes
        with the cube of speed (affinity laws)."""
        return self.cdu_pump_frac / self.cdu_speed_frac**3


@dataclass(frozen=True, slots=True)
class LoopParams:
    """The water between racks and outdoor air: masses, heads, controls and limits, for the offline twin.

    Capacities stand as seconds of design flow: what a body holds over what passes through it.

    - ``rack_s``, ``return_s``, ``supply_s`` (coolant in racks and the pipes of a CDU), ``metal_s`` (cold plates and manifolds
      as so much coolant), ``leg_s`` (each leg of a facility loop), ``buffer_s`` (basin or tank of a plant): assumed.
    - ``secondary_pa``: 40 psi at 1.5 L/min/kW (OCP). ``primary_pa``: assumed. ``branch_frac``: of the secondary head that lies
      over racks and their valves; assumed. ``valve_frac``: of that over the open valve (authority), assumed; ASHRAE asks for
      0.25-0.5.
    - ``shutoff_ratio``: head at no flow over design; radial pumps 1.1-1.3 (Karassik, "Pump Handbook").
      ``rangeability_ratio``: of equal-percentage control valves, 30-50 (IEC 60534-2-4).
    - ``film_exponent``: of heat transfer with flow (Dittus-Boelter, Incropera eq. 8.60). ``valve_ratio``: facility flow with a
      CDU's valve open over design; assumed. ``valve_lag_s``, ``chiller_lag_s``, ``takeover_s`` (standby pump): assumed.
    - ``air_s`` (room air and what stands in it, as air flow), ``air_rise_k``, ``room_c`` (return air setpoint), ``coil_ratio``
      (coil over design heat): assumed; ASHRAE TC 9.9 recommends 18-27 °C at the inlet. ``inlet_limit_c``: what its class A1
      allows there; return air is then ``air_rise_k`` warmer. ``room_rh_frac``: for the dew point.
    - ``plate_wpk``: cold plate of about 0.02 K/W; ``plate_exponent``: laminar, Incropera eq. 8.57. ``junction_limit_c``: where
      accelerators slow down; assumed. ``slowed_least_frac``: of what they draw above idle at their lowest clock; assumed.
      ``junction_trip_c``: where they switch off; assumed. ``return_limit_c``: GB300 NVL72,
      return of 45-50 °C at most.
    - ``dew_margin_k``: supply at dew point + 2-3 K or more. ``starved_frac``: flow over design that counts as starving;
      assumed.
    - ``leak_per_k``: of a rack's power with its coolant's temperature; assumed. ``cap_exponent``: measured sweep of eight
      workloads, medians 0.32-0.41 (Emerald AI, May 2025). ``clock_exponent``, ``job_util_frac`` (of a job that says nothing):
      assumed.
    - ``cycles_ratio``: of concentration. ``pad_frac``: of dry coolers that say nothing; dry. ``pad_above_c`` (pads run above
      this dry bulb): assumed.
    - ``battery_s`` (a store at its rating), ``battery_frac`` (of a round trip, lithium cells with inverter): assumed.
    - ``ups_s`` at rating and ``peukert_exponent``: 5 minutes of lithium cells; assumed. ``trip_ratio``: load over rating above
      which a breaker opens in the end (IEC 60947-2, conventional tripping current 1.30; 1.25 of a UPS's overload for 10 min),
      ``trip_s``: time constant of its thermal element; assumed (from three quarters of load 5 minutes at 1.5, 2 at 2).
    """

    rack_s: float = 20.0
    metal_s: float = 15.0
    return_s: float = 20.0
    supply_s: float = 20.0
    leg_s: float = 60.0
    buffer_s: float = 180.0
    secondary_pa: float = 276e3
    primary_pa: float = 170e3
    branch_frac: float = 0.6
    valve_frac: float = 0.35
    shutoff_ratio: float = 1.25
    rangeability_ratio: float = 50.0
    film_exponent: float = 0.8
    valve_ratio: float = 1.35
    valve_lag_s: float = 30.0
    chiller_lag_s: float = 180.0
    takeover_s: float = 10.0
    air_s: float = 240.0
    air_rise_k: float = 12.0
    room_c: float = 32.0
    coil_ratio: float = 1.3
    inlet_limit_c: float = 32.0
    room_rh_frac: float = 0.45
    plate_wpk: float = 50.0
    plate_exponent: float = 1 / 3
    junction_limit_c: float = 87.0
    junction_trip_c: float = 97.0
    slowed_least_frac: float = 0.1
    return_limit_c: float = 50.0
    dew_margin_k: float = 2.0
    starved_frac: float = 0.5
    leak_per_k: float = 0.001
    cap_exponent: float = 0.4
    clock_exponent: float = 2.4
    job_util_frac: float = 0.8
    cycles_ratio: float = 5.0
    pad_frac: float = 0.0
    pad_above_c: float = 20.0
    ups_s: float = 300.0
    peukert_exponent: float = 1.05
    trip_ratio: float = 1.25
    trip_s: float = 300.0
    battery_s: float = 7200.0
    battery_frac: float = 0.88


@dataclass(frozen=True, slots=True)
class Doubt:
    """Standard uncertainties as shares of the value, for the 80 % interval of the site's totals.

    - ``meter``: a class 1 meter (IEC 62053-21) taken as 95 % limits.
    - ``gpu_sensor``: NVML, "accurate to within +/- 5 %" (said of Fermi and Kepler, taken for later ones), as 95 % limits.
    - ``gpu_util`` (power from utilisation), ``rest`` (processors, memory, NIC, supply), ``loss``, ``cooling`` and, while the
      weather is assumed, ``blind_cooling``: assumed.
    - ``machine``: power of one machine of the plant, over its rating; assumed.
    - ``common_frac``: share of the variance that all assets have in common, as one model and one firmware err alike
      everywhere; assumed.
    - ``node``: power of a node from what its GPUs and processors say, once calibrated (0: not calibrated, then from
      ``gpu_sensor``, ``gpu_util`` and ``rest``).
    - ``feed``: shares of a load that has two feeds (supplies share within 5 %, as 95 % limits); ``device_loss``: of one device
      beyond ``loss``, which all of a kind have in common; ``house``: what the centre draws beside IT, cooling and losses
      (light, offices) over nominal IT power; ``liquid``: heat of one rack's liquid; ``liquid_common``: of all of them together;
      ``flow_share``: a rack's share of its CDU's flow; ``pump_flow``: flow by pump speed; ``exchanger``: UA; all assumed.
    - ``flow_meter``: an electromagnetic meter, +/- 0.5 % of the reading when new, taken with installation as 1 %; assumed.
      ``temp_k``: a Pt100 of class B (IEC 60751), +/- 0.3 K + 0.005·t as 95 % limits and rounding to tenths.

    What is silent has the spread of a uniform distribution from idle to full (JCGM 100:2008, 4.3.7).
    """

    meter: float = 0.005
    gpu_sensor: float = 0.025
    gpu_util: float = 0.15
    rest: float = 0.20
    loss: float = 0.20
    cooling: float = 0.25
    blind_cooling: float = 0.50
    machine: float = 0.30
    common_frac: float = 0.5
    node: float = 0.0
    feed: float = 0.025
    device_loss: float = 0.10
    house: float = 0.015
    liquid: float = 0.10
    liquid_common: float = 0.15
    flow_share: float = 0.10
    pump_flow: float = 0.10
    exchanger: float = 0.20
    flow_meter: float = 0.01
    temp_k: float = 0.2


@dataclass(frozen=True, slots=True)
class Params:
    """All of them, and how little hearing is enough; everything here is assumed.

    - ``heard_floor_frac``: a value is NaN where less than this share of what it rests on was heard;
      ``heard_sound_frac``: it is suspect below this.
    - ``house_w``: what the centre draws beside IT, cooling and losses; 0 until calibrated. ``rack_lag_s``: coolant in a rack
      and die over flow; ``residual_s``: time over which residuals are smoothed. ``learned``: of single assets, by calibration.
    - ``switch_w``: a switch with neither reading nor rating; ``steady_load_frac``: load of switches and storage over rating.
    """

    node: NodeParams = field(default_factory=NodeParams)
    chain: ChainParams = field(default_factory=ChainParams)
    plant: PlantParams = field(default_factory=PlantParams)
    loops: LoopParams = field(default_factory=LoopParams)
    doubt: Doubt = field(default_factory=Doubt)
    heard_floor_frac: float = 0.5
    heard_sound_frac: float = 0.95
    switch_w: float = 1000.0
    steady_load_frac: float = 0.6
    house_w: float = 0.0
    rack_lag_s: float = 35.0
    residual_s: float = 60.0
    learned: Learned = field(default_factory=Learned)
